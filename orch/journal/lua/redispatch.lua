-- redispatch.lua: a token that nobody holds gets a message, or a child, again.
--
-- KEYS  record   HASH  nothing is dispatched unless its `status` is running
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET `subscription execution path` of those that wait for a report
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the token stands
-- ARGV  expect   str   the status that it must have: dispatched (the message was lost) or
--                      retrying (the back-off is over) or polling (the interval is)
-- ARGV  attempt  int   the fence
-- ARGV  becomes  str   dispatched | calling | external
-- ARGV  listens  str   the subscription of what becomes external, or ''
-- ARGV  limit    int   when a worker must have taken it, ms, or 0
-- ARGV  due      int   when to look at it again, ms
-- ARGV  granted  int   1: it waited for its limits, and they let it begin
--
-- USES  hear tell pause_over unwinds
--
-- Reply  {'DISPATCHED'} | {'SUPERSEDED', status} | {'PAUSED'} | {'ENDED', status} | {'MISSING'}

local status, pauses = unpack(redis.call('HMGET', record, 'status', 'pauses'))
local text = redis.call('HGET', steps, path)
local member = id .. ' ' .. path
if not status or not text then
    redis.call('ZREM', watch, member)
    return {'MISSING'}
end
if status == 'paused' then
    return {'PAUSED'}
end
if status ~= 'running' and not may_undo(status, path) then
    redis.call('ZREM', watch, member)
    return {'ENDED', status}
end
local state = cjson.decode(text)
if state[1] ~= expect or state[2] ~= attempt then
    return {'SUPERSEDED', state[1]}
end
if pauses and pause_over(cjson.decode(pauses), path) then
    return {'PAUSED'}
end
local word = ({retrying = 'retried', polling = 'asked'})[expect] or 'redispatched'
word = granted == 1 and 'granted' or word
if becomes ~= 'dispatched' then
    word = becomes
    state[7] = now
end
if listens ~= '' then
    redis.call('HSET', steps, '?' .. path, listens)
    redis.call('ZADD', listening, 0, listens .. ' ' .. id .. ' ' .. path)
end
if limit > 0 then
    state[8], state[9], state[10] = state[8] or 0, state[9] or 0, limit
end
state[1] = becomes
state[5] = now
state[6] = ''
redis.call('HSET', steps, path, cjson.encode(state))
redis.call('ZADD', watch, due, member)
tell({cjson.encode({now, word, path, state[2]})})
return {'DISPATCHED'}
