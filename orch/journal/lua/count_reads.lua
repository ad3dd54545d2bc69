-- count_reads.lua: count that records of the memory were read.
--
-- KEYS  memories  HASH  id -> JSON; only what is there is counted
-- KEYS  reads     HASH  id -> `count last`, how often it was read, and when last, ms
-- ARGV  now       int   the caller's clock, ms
-- ARGV  ids       list  of records
--
-- Reply  {'COUNTED'}

for _, id in ipairs(ids) do
    if redis.call('HEXISTS', memories, id) == 1 then
        local count = (redis.call('HGET', reads, id) or '0 0'):match('^(%d+)')
        redis.call('HSET', reads, id, string.format('%d %d', count + 1, now))
    end
end
local ttl = redis.call('PTTL', memories)
if ttl > redis.call('PTTL', reads) then
    redis.call('PEXPIRE', reads, ttl)
end
return {'COUNTED'}
