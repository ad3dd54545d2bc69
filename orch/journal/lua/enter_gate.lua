-- enter_gate.lua: an execution asks for a slot, or for its place among those that wait.
--
-- KEYS  held     ZSET  `execution limit policy` -> place, of those that have a slot
-- KEYS  waiting  ZSET  `execution limit policy` -> place, of those that have none yet
-- KEYS  watch    ZSET  `gate ` -> when to look at the gate, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  gate     str   the gate, as it stands in `watch`
-- ARGV  member   str   who asks
-- ARGV  since    int   since when, ms: who asks since earlier goes first
-- ARGV  limit    int   how many slots there are
-- ARGV  stays    int   1: it waits if none is free
-- ARGV  moves    int   1: if it asks anew, its place is a later one
-- ARGV  soon     int   ms after which the gate is looked at while somebody waits
-- ARGV  later    int   ms after which it is while nobody does
--
-- USES  let_in watch_gate
--
-- Reply  {'HELD', id, …} | {'WAITS', id, …}  whether it has a slot, and who was given one now
--        {'FULL'}  none is free, and it does not wait

local has = redis.call('ZSCORE', held, member)
local waits = not has and redis.call('ZSCORE', waiting, member)
if moves == 1 and has and since > math.floor(tonumber(has) / 1024) then
    redis.call('ZADD', held, string.format('%.0f', since * 1024), member)
elseif moves == 1 and waits and since > math.floor(tonumber(waits) / 1024) then
    redis.call('ZREM', waiting, member)
    waits = false
end
if not has and not waits then
    local full = redis.call('ZCARD', held) >= limit or redis.call('ZCARD', waiting) > 0
    if stays == 0 and full then
        return {'FULL'}
    end
    -- 1024 places in a millisecond, in the order of their coming.
    local first, last = since * 1024, since * 1024 + 1022
    local same = redis.call('ZREVRANGEBYSCORE', waiting, string.format('%.0f', last),
        string.format('%.0f', first), 'WITHSCORES', 'LIMIT', 0, 1)
    local place = same[2] and tonumber(same[2]) + 1 or first
    redis.call('ZADD', waiting, string.format('%.0f', place), member)
end
local found = let_in()
watch_gate(false, #found > 0)
local word = redis.call('ZSCORE', held, member) and 'HELD' or 'WAITS'
return {word, unpack(found)}
