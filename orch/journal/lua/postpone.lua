-- postpone.lua: look at a token later, or never again, unless it moved on in the meantime.
--
-- KEYS  record   HASH  whether it or a branch of it is paused
-- KEYS  steps    HASH  path -> state
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the token stands
-- ARGV  state    str   the state that the caller saw
-- ARGV  rests    int   1: only if the token rests, as its execution or its branch is paused
-- ARGV  due      int   when to look at it again, ms; 0: never, it is not live
--
-- USES  pause_over
--
-- Reply  {'POSTPONED'} | {'SUPERSEDED'}

local member = id .. ' ' .. path
local text = redis.call('HGET', steps, path)
if not text then
    redis.call('ZREM', watch, member)
    return {'SUPERSEDED'}
end
if text ~= state then
    return {'SUPERSEDED'}
end
if rests == 1 then
    local have = redis.call('HMGET', record, 'status', 'pauses')
    local held = have[1] == 'running' and have[2] and pause_over(cjson.decode(have[2]), path)
    if have[1] ~= 'paused' and not held then
        return {'SUPERSEDED'}
    end
end
if due > 0 then
    redis.call('ZADD', watch, due, member)
else
    redis.call('ZREM', watch, member)
end
return {'POSTPONED'}
