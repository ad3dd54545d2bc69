-- go_on.lua: an execution that was taken up again, or forked, goes on now that it has its slots.
--
-- KEYS  record   HASH  its `status` must be queued
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  since    int   since when it asks for its slots, ms
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  deadline int   when the execution must have ended, ms, or 0
-- ARGV  look     int   when to look at the execution as a whole, ms, or 0
-- ARGV  event    str   text of the event
--
-- USES  hear tell index wake_tokens
--
-- Reply  {'BEGUN', path, …}  the tokens that need a message
--        {'DONE', status} | {'MISSING'}

local have, queued = unpack(redis.call('HMGET', record, 'status', 'queued'))
if not have then
    return {'MISSING'}
end
if have ~= 'queued' or tonumber(queued) ~= since then
    return {'DONE', have}
end
redis.call('HSET', record, 'status', 'running')
redis.call('HSETNX', record, 'begun', string.format('%.0f', now))
local woken = wake_tokens(function()
    return since
end, function()
    return nil
end)
if deadline > 0 then
    redis.call('HSET', record, 'deadline', string.format('%.0f', deadline))
end
if look > 0 then
    redis.call('ZADD', watch, look, id .. ' ')
else
    redis.call('ZREM', watch, id .. ' ')
end
tell({event})
move_index('queued', 'running', '')
table.insert(woken, 1, 'BEGUN')
return woken
