-- take_due.lua: the tokens that must be looked at now, each given to one caller.
--
-- KEYS  watches  MANY  ZSETs `execution path` -> when to look, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  hold     int   ms after which a token is given out again, if the caller dies
-- ARGV  most     int   how many tokens at the most
--
-- Reply  {next, member, …}: when the earliest token that is left comes due, ms or '', and
--        the tokens that are due

local found = {''}
local soonest
for _, watch in ipairs(watches) do
    local room = most - #found + 1
    local first = redis.call('ZRANGE', watch, 0, 0, 'WITHSCORES')
    if room > 0 and first[2] and tonumber(first[2]) <= now then
        local due = redis.call('ZRANGEBYSCORE', watch, '-inf', now, 'LIMIT', 0, room)
        for _, member in ipairs(due) do
            redis.call('ZADD', watch, now + hold, member)
            found[#found + 1] = member
        end
        first = redis.call('ZRANGE', watch, 0, 0, 'WITHSCORES')
    end
    if first[2] and (not soonest or tonumber(first[2]) < soonest) then
        soonest = tonumber(first[2])
    end
end
if soonest then
    found[1] = string.format('%.0f', soonest)
end
return found
