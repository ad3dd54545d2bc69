-- leave_notice.lua: a notice is delivered, or is to be delivered later.
--
-- KEYS  outbox  HASH  id of a notice -> JSON; `@id` -> until when somebody delivers it, ms
-- KEYS  watch   ZSET  `notice:id ` -> when to look, ms
-- ARGV  now     int   the caller's clock, ms
-- ARGV  notice  str   its id
-- ARGV  text    str   JSON of what is left of it; '': it is delivered
-- ARGV  due     int   when to deliver the rest, ms
--
-- Reply  {'LEFT'}

redis.call('HDEL', outbox, '@' .. notice)
if text == '' then
    redis.call('HDEL', outbox, notice)
    redis.call('ZREM', watch, 'notice:' .. notice .. ' ')
elseif redis.call('HEXISTS', outbox, notice) == 1 then
    redis.call('HSET', outbox, notice, text)
    redis.call('ZADD', watch, math.max(due, now), 'notice:' .. notice .. ' ')
end
return {'LEFT'}
