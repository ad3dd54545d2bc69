-- store_schedule.lua: write down what a schedule says, and how far one has come with it.
--
-- KEYS  schedule  HASH  `spec` and `progress`, JSON; `created`, `changed`, ms; `by`
-- KEYS  due       ZSET  name of a schedule -> when it must be looked at, ms
-- KEYS  ticks     LIST  what became of the latest instants, JSON
-- KEYS  notes     HASH  `>id` -> JSON of what is to be remembered
-- ARGV  name      str
-- ARGV  spec      str   JSON; '': it stays what it is
-- ARGV  before    str   the spec that is to be there; '': none; '*': any, or none
-- ARGV  was       str   the progress that is to be there; '*': any
-- ARGV  progress  str   JSON
-- ARGV  look      int   when to look at it, ms; 0: never again
-- ARGV  now       int   the caller's clock, ms
-- ARGV  by        str   who changes it
-- ARGV  told      list  what became of instants, JSON
-- ARGV  most      int   how many of these are kept
-- ARGV  noted     list  flat field, JSON, … of `notes`
--
-- USES  call_with
--
-- Reply  {'STORED'} | {'MOVED'}  somebody else was there | {'EXISTS'} | {'MISSING'}

local have = redis.call('HMGET', schedule, 'spec', 'progress')
if before == '' and have[1] then
    return {'EXISTS'}
end
if before ~= '' and before ~= '*' and not have[1] then
    return {'MISSING'}
end
if (before ~= '' and before ~= '*' and have[1] ~= before) or (was ~= '*' and have[2] ~= was) then
    return {'MOVED'}
end
local instant = string.format('%.0f', now)
if spec ~= '' then
    redis.call('HSET', schedule, 'spec', spec, 'changed', instant, 'by', by)
    redis.call('HSETNX', schedule, 'created', instant)
end
redis.call('HSET', schedule, 'progress', progress)
if look > 0 then
    redis.call('ZADD', due, look, name)
else
    redis.call('ZREM', due, name)
end
for _, each in ipairs(told) do
    redis.call('LPUSH', ticks, each)
end
redis.call('LTRIM', ticks, 0, most - 1)
call_with('HSET', notes, noted)
return {'STORED'}
