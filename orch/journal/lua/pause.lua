-- pause.lua: nothing of an execution starts any more; what runs may end.
--
-- KEYS  record   HASH  its `status` must be running, or one from before its beginning, which is
--                      kept in `held`
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms; the tokens keep their places
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  event    str   text of the event
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell index leave_life
--
-- Reply  {'PAUSED'} | {'DONE', status} | {'MISSING'}

local status = redis.call('HGET', record, 'status')
if not status then
    return {'MISSING'}
end
local pending = {scheduled = 1, queued = 1}
if pending[status] then
    redis.call('HSET', record, 'status', 'paused', 'paused', string.format('%.0f', now))
    redis.call('HSET', record, 'held', status)
    redis.call('ZREM', watch, id .. ' ')
    leave_life(life)
    tell({event})
    move_index(status, 'paused', '')
    return {'PAUSED'}
end
if status ~= 'running' then
    return {'DONE', status}
end
redis.call('HSET', record, 'status', 'paused', 'paused', string.format('%.0f', now))
-- The deadline stands still: what is left of it begins again when the execution is resumed.
local deadline = redis.call('ZSCORE', watch, id .. ' ')
if deadline then
    redis.call('HSET', record, 'remains', string.format('%.0f', tonumber(deadline) - now))
    redis.call('ZREM', watch, id .. ' ')
end
leave_life(life)
tell({event})
move_index('running', 'paused', '')
return {'PAUSED'}
