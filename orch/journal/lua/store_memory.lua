-- store_memory.lua: keep a record of the memory, once; say which others have to go.
--
-- KEYS  memories  HASH  id -> JSON
-- KEYS  entries   ZSET  `head created id`, what a record is found by; all of score 0
-- KEYS  ends      ZSET  id -> when it expires, ms
-- ARGV  now       int   the caller's clock, ms
-- ARGV  id        str   the record's
-- ARGV  text      str   JSON
-- ARGV  found_by  list  its entries
-- ARGV  expires   int   ms
-- ARGV  most      int   records that are kept
--
-- Reply  {'STORED', {id, …} that are expired, or too many} | {'KNOWN', JSON}  nothing has changed
--        | {'EXPIRED', {id}}  one of this id has to be forgotten first

local known = redis.call('HGET', memories, id)
if known then
    local over = redis.call('ZSCORE', ends, id)
    if over and tonumber(over) > now then
        return {'KNOWN', known}
    end
    return {'EXPIRED', {id}}
end
redis.call('HSET', memories, id, text)
for _, entry in ipairs(found_by) do
    redis.call('ZADD', entries, 0, entry)
end
redis.call('ZADD', ends, expires, id)
local keep = expires - now
if redis.call('PTTL', memories) < keep then
    redis.call('PEXPIRE', memories, keep)
    redis.call('PEXPIRE', entries, keep)
    redis.call('PEXPIRE', ends, keep)
end
local gone = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
local excess = redis.call('HLEN', memories) - most
if #gone == 0 and excess > 0 then
    gone = redis.call('ZRANGE', ends, 0, math.min(excess, 100) - 1)
end
return {'STORED', gone}
