-- count_heads.lua: how many executions of a partition are under each head that begins so.
--
-- KEYS  index  ZSET  `head started execution`, all of score 0, so in the order of their bytes
-- ARGV  above  str   the beginning of the heads
-- ARGV  since  str   13 digits, ms
--
-- Reply  {head, count, how many of them started at `since` or later, …}
-- USES  heads_above

local reply = {}
for _, head in ipairs(heads_above(above)) do
    local last = '(' .. head .. '\255'
    reply[#reply + 1] = head
    reply[#reply + 1] = redis.call('ZLEXCOUNT', index, '[' .. head, last)
    reply[#reply + 1] = redis.call('ZLEXCOUNT', index, '[' .. head .. since, last)
end
return reply
