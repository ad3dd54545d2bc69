-- remove_schedule.lua: forget a schedule, not its executions.
--
-- KEYS  schedule  HASH  what it says, and how far one has come with it
-- KEYS  ticks     LIST  what became of its latest instants
-- KEYS  due       ZSET  name of a schedule -> when it must be looked at, ms
-- KEYS  names     SET   names of schedules
-- KEYS  notes     HASH  `>id` -> JSON of what is to be remembered
-- ARGV  name      str
-- ARGV  noted     list  flat field, JSON, … of `notes`
--
-- USES  call_with
--
-- Reply  {'REMOVED'} | {'MISSING'}

redis.call('DEL', ticks)
redis.call('ZREM', due, name)
redis.call('SREM', names, name)
if redis.call('DEL', schedule) == 0 then
    return {'MISSING'}
end
call_with('HSET', notes, noted)
return {'REMOVED'}
