-- heartbeat.lua: an attempt at work says that it goes on, and how far it is.
--
-- KEYS  record   HASH  the last heartbeat of a path is a field of it
-- KEYS  steps    HASH  path -> state
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the token stands
-- ARGV  status   str   running | external
-- ARGV  attempt  int   the fence: the attempt that it must be at
-- ARGV  owner    str   who must hold it
-- ARGV  field    str   of the record, for the heartbeat
-- ARGV  beat     str   JSON of the heartbeat
-- ARGV  due      int   when to look at the token again, ms
--
-- Reply  {'BEAT'} | {'SUPERSEDED', status}  the attempt is no longer the caller's

local text = redis.call('HGET', steps, path)
local state = text and cjson.decode(text) or {''}
if state[1] ~= status or state[2] ~= attempt or state[6] ~= owner then
    return {'SUPERSEDED', state[1]}
end
redis.call('HSET', record, field, beat)
redis.call('ZADD', watch, 'XX', due, id .. ' ' .. path)
return {'BEAT'}
