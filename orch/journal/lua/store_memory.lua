-- store_memory.lua: keep a record of the memory, once; say which others have to go.
--
-- KEYS  memories  HASH  id -> JSON
-- KEYS  entries   ZSET  `head created id`, what a record is found by; all of score 0
-- KEYS  ends      ZSET  id -> when it expires, ms
-- KEYS  merged    HASH  id -> id of the record that stands for it
-- ARGV  now       int   the caller's clock, ms
-- ARGV  id        str   the record's
-- ARGV  text      str   JSON
-- ARGV  found_by  list  its entries
-- ARGV  expires   int   ms
-- ARGV  most      int   records that are kept
--
-- Reply  {'STORED', {id, …} that are expired, or too many}
--        | {'KNOWN', JSON, id}  nothing has changed; the id is another one where it was merged
--        | {'EXPIRED', {id}}  this one has to be forgotten first
-- USES  call_with

local at = id
local known = redis.call('HGET', memories, id)
local stale = false  -- it was merged into a record that is gone
while at and not known do
    at = redis.call('HGET', merged, at)
    stale = stale or at
    known = at and redis.call('HGET', memories, at)
end
if known then
    local over = redis.call('ZSCORE', ends, at)
    if over and tonumber(over) > now then
        return {'KNOWN', known, at}
    end
    return {'EXPIRED', {at}}
end
if stale then
    redis.call('HDEL', merged, id)
end
redis.call('HSET', memories, id, text)
local members = {}
for _, entry in ipairs(found_by) do
    members[#members + 1] = 0
    members[#members + 1] = entry
end
call_with('ZADD', entries, members)
redis.call('ZADD', ends, expires, id)
local keep = expires - now
if redis.call('PTTL', memories) < keep then
    redis.call('PEXPIRE', memories, keep)
    redis.call('PEXPIRE', entries, keep)
    redis.call('PEXPIRE', ends, keep)
end
local gone = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
local excess = math.min(redis.call('HLEN', memories) - most, 100)
if #gone == 0 and excess > 0 then
    -- Not the one that has just come, although it may be the first to expire.
    for _, other in ipairs(redis.call('ZRANGE', ends, 0, excess)) do
        if other ~= id and #gone < excess then
            gone[#gone + 1] = other
        end
    end
end
return {'STORED', gone}
