-- leave_gate.lua: executions give up their slots, or their places; the next ones get them.
--
-- KEYS  held     ZSET  `execution limit policy` -> place, of those that have a slot
-- KEYS  waiting  ZSET  `execution limit policy` -> place, of those that have none yet
-- KEYS  watch    ZSET  `gate ` -> when to look at the gate, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  gate     str   the gate, as it stands in `watch`
-- ARGV  leave    list  {member, since} of each; one that asks anew since then stays
-- ARGV  looked   int   1: the gate was looked at now
-- ARGV  soon     int   ms after which the gate is looked at while somebody waits
-- ARGV  later    int   ms after which it is while nobody does
--
-- USES  let_in watch_gate
--
-- Reply  {'LEFT', id, …}  who was given a slot now

local function is_of(place, since)
    return place and math.floor(tonumber(place) / 1024) == since
end

for _, each in ipairs(leave) do
    if is_of(redis.call('ZSCORE', held, each[1]), each[2]) then
        redis.call('ZREM', held, each[1])
    end
    if is_of(redis.call('ZSCORE', waiting, each[1]), each[2]) then
        redis.call('ZREM', waiting, each[1])
    end
end
local found = let_in()
watch_gate(looked == 1, #found > 0)
return {'LEFT', unpack(found)}
