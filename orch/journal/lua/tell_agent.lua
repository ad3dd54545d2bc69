-- tell_agent.lua: keep what an agent has done, for those who ask when it is gone.
--
-- Each life of it has its own sums, said anew each time, so that nothing is counted twice; those
-- of a life that has said nothing for long are added to the past.
--
-- KEYS  agent        HASH  `about`: JSON; `seen`: ms; `past`: JSON of sums; `@life` -> JSON of its
--                          sums, and when they were said, ms
-- ARGV  incarnation  str   its present life
-- ARGV  sums         list  calls, failures, seconds of it
-- ARGV  about        str   JSON of what it is
-- ARGV  now          int   the caller's clock, ms
-- ARGV  silence      int   ms after which a life is past
-- ARGV  keep         int   ms for which all of it is kept
--
-- Reply  {'TOLD'}

local past = cjson.decode(redis.call('HGET', agent, 'past') or '[0,0,0]')
local said = redis.call('HGETALL', agent)
local folded = false
for i = 1, #said, 2 do
    local life = said[i]
    if string.sub(life, 1, 1) == '@' and life ~= '@' .. incarnation then
        local found = cjson.decode(said[i + 1])
        if now - found[4] > silence then
            for place = 1, 3 do
                past[place] = past[place] + found[place]
            end
            redis.call('HDEL', agent, life)
            folded = true
        end
    end
end
if folded then
    redis.call('HSET', agent, 'past', cjson.encode(past))
end
local own = cjson.encode({sums[1], sums[2], sums[3], now})
redis.call('HSET', agent, '@' .. incarnation, own, 'about', about)
redis.call('HSET', agent, 'seen', string.format('%.0f', now))
redis.call('PEXPIRE', agent, keep)
return {'TOLD'}
