-- revise_memories.lua: change records of the memory, drop some, or merge some into others: all of
-- it, or nothing where somebody else was faster.
--
-- KEYS  memories     HASH  id -> JSON
-- KEYS  entries      ZSET  `head created id`, what a record is found by; all of score 0
-- KEYS  ends         ZSET  id -> when it expires, ms
-- KEYS  reads        HASH  id -> `count last`, how often it was read, and when last, ms
-- KEYS  merged       HASH  id -> id of the record that stands for it
-- KEYS  merged_ends  ZSET  id of a merged one -> when it would have expired, ms
-- ARGV  before       list  id, JSON of what was read ('': nothing) of each that is meant
-- ARGV  after        list  id, JSON, when it expires, of those that stay
-- ARGV  out          list  entries that go; none of them in `into`
-- ARGV  into         list  entries that come
-- ARGV  stand_in     list  id of one that goes, id of what stands for it, when it would expire
--
-- Reply  {'REVISED'} | {'OTHER', id}  this one is no longer what was read; nothing has changed

for i = 1, #before, 2 do
    if (redis.call('HGET', memories, before[i]) or '') ~= before[i + 1] then
        return {'OTHER', before[i]}
    end
end
local stays = {}
for i = 1, #after, 3 do
    stays[after[i]] = true
    redis.call('HSET', memories, after[i], after[i + 1])
    redis.call('ZADD', ends, after[i + 2], after[i])
end
local ttl = redis.call('PTTL', memories)
for i = 1, #stand_in, 3 do
    local id, other = stand_in[i], stand_in[i + 1]
    redis.call('HSET', merged, id, other)
    redis.call('ZADD', merged_ends, stand_in[i + 2], id)
    local count, last = (redis.call('HGET', reads, id) or ''):match('^(%d+) (%d+)$')
    if count then
        local found = redis.call('HGET', reads, other) or '0 0'
        local n, at = found:match('^(%d+) (%d+)$')
        at = tonumber(at) > tonumber(last) and at or last
        redis.call('HSET', reads, other, string.format('%d %s', n + count, at))
    end
end
for i = 1, #before, 2 do
    if not stays[before[i]] then
        redis.call('HDEL', memories, before[i])
        redis.call('ZREM', ends, before[i])
        redis.call('HDEL', reads, before[i])
    end
end
-- What comes before what goes: an empty key would be gone, and its TTL with it.
for _, entry in ipairs(into) do
    redis.call('ZADD', entries, 0, entry)
end
for _, entry in ipairs(out) do
    redis.call('ZREM', entries, entry)
end
if #stand_in > 0 then
    redis.call('PEXPIRE', merged, ttl)
    redis.call('PEXPIRE', merged_ends, ttl)
end
return {'REVISED'}
