-- take_slot.lua: the next call of a service begins at its slot, or later than it can wait (GCRA).
--
-- KEYS  rate   STRING  when the next call would begin if none came at once, ms
-- ARGV  now    int     the caller's clock, ms
-- ARGV  pause  str     ms between two calls
-- ARGV  burst  int     calls at once after a rest
-- ARGV  most   int     ms that the caller waits
--
-- Reply  {'TAKEN', ms to wait} | {'LATER', ms to wait}: nothing is taken

local gap = tonumber(pause)
local next_one = math.max(tonumber(redis.call('GET', rate) or '0'), now)
local wait = math.max(0, math.ceil(next_one - (burst - 1) * gap - now))
if wait > most then
    return {'LATER', wait}
end
local after = next_one + gap
local life = math.ceil(after - now) + 1000
redis.call('SET', rate, string.format('%.3f', after), 'PX', life)
return {'TAKEN', wait}
