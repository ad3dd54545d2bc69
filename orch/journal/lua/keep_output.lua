-- keep_output.lua: keep the output of a step for those that will fail; the oldest make room.
--
-- KEYS  outputs  HASH  name -> output, JSON; `bytes`: how many these are
-- KEYS  ages     ZSET  name -> when it was kept, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  name     str   that of the input, or `*`
-- ARGV  output   str   JSON
-- ARGV  most     int   bytes that are kept of all outputs
-- ARGV  keep     int   ms for which it may be of use
--
-- Reply  {'KEPT'} | {'TOO_LARGE'}  what was kept before stays

if #output > most then
    return {'TOO_LARGE'}
end
local bytes = tonumber(redis.call('HGET', outputs, 'bytes') or 0)
bytes = bytes + #output - redis.call('HSTRLEN', outputs, name)
redis.call('HSET', outputs, name, output)
redis.call('ZADD', ages, now, name)
while bytes > most do
    local oldest = redis.call('ZRANGE', ages, 0, 1)
    local gone = oldest[1] == name and oldest[2] or oldest[1]
    bytes = bytes - redis.call('HSTRLEN', outputs, gone)
    redis.call('HDEL', outputs, gone)
    redis.call('ZREM', ages, gone)
end
redis.call('HSET', outputs, 'bytes', bytes)
if redis.call('PTTL', outputs) < keep then
    redis.call('PEXPIRE', outputs, keep)
    redis.call('PEXPIRE', ages, keep)
end
return {'KEPT'}
