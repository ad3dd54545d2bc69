-- undo.lua: open the next compensation of an execution that unwinds, once.
--
-- KEYS  record   HASH  its `status` must be cancelling or compensating
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the compensation stands
-- ARGV  state    str   its state
-- ARGV  due      int   when to look at it, ms
-- ARGV  event    str   text of the event
--
-- USES  hear tell unwinds
--
-- Reply  {'OPENED'} | {'DONE', status} | {'EXISTS'} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    return {'MISSING'}
end
if not unwinds_in[have] then
    return {'DONE', have}
end
if redis.call('HSETNX', steps, path, state) == 0 then
    return {'EXISTS'}
end
redis.call('ZADD', watch, due, id .. ' ' .. path)
tell({event})
return {'OPENED'}
