-- take_notice.lua: one process delivers a notice; for a time nobody else does.
--
-- KEYS  outbox  HASH  id of a notice -> JSON; `@id` -> until when somebody delivers it, ms
-- KEYS  watch   ZSET  `notice:id ` -> when to look, ms
-- ARGV  now     int   the caller's clock, ms
-- ARGV  notice  str   its id
-- ARGV  due     int   until when the caller delivers it, ms
--
-- Reply  {'TAKEN', JSON} | {'HELD'} | {'GONE'}

local text = redis.call('HGET', outbox, notice)
if not text then
    redis.call('HDEL', outbox, '@' .. notice)
    redis.call('ZREM', watch, 'notice:' .. notice .. ' ')
    return {'GONE'}
end
local held = redis.call('HGET', outbox, '@' .. notice)
if held and tonumber(held) > now then
    return {'HELD'}
end
redis.call('HSET', outbox, '@' .. notice, string.format('%.0f', due))
redis.call('ZADD', watch, due, 'notice:' .. notice .. ' ')
return {'TAKEN', text}
