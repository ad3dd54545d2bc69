-- postpone.lua: look at a token later, or never again, unless it moved on in the meantime.
--
-- KEYS  record   HASH  its `status` may be asked for
-- KEYS  steps    HASH  path -> state
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the token stands
-- ARGV  state    str   the state that the caller saw
-- ARGV  status   str   the status that the execution must have; '' for any
-- ARGV  due      int   when to look at it again, ms; 0: never, it is not live
--
-- Reply  {'POSTPONED'} | {'SUPERSEDED'}

local member = id .. ' ' .. path
local text = redis.call('HGET', steps, path)
if not text then
    redis.call('ZREM', watch, member)
    return {'SUPERSEDED'}
end
if text ~= state or (status ~= '' and redis.call('HGET', record, 'status') ~= status) then
    return {'SUPERSEDED'}
end
if due > 0 then
    redis.call('ZADD', watch, due, member)
else
    redis.call('ZREM', watch, member)
end
return {'POSTPONED'}
