-- queue.lua: a scheduled execution whose time has come asks for its slots.
--
-- KEYS  record   HASH  its `status` must be scheduled
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- ARGV  id       str   the execution
-- ARGV  since    int   since when it asks, ms
-- ARGV  look     int   when to look at it again, ms
-- ARGV  event    str   text of the event
--
-- USES  hear tell index
--
-- Reply  {'QUEUED'} | {'DONE', status} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    redis.call('ZREM', watch, id .. ' ')
    return {'MISSING'}
end
if have ~= 'scheduled' then
    return {'DONE', have}
end
redis.call('HSET', record, 'status', 'queued', 'queued', string.format('%.0f', since))
redis.call('ZADD', watch, look, id .. ' ')
tell({event})
move_index('scheduled', 'queued', '')
return {'QUEUED'}
