-- look_at_limits.lua: those that wait get what has become free with time; who is to be looked at?
--
-- KEYS  requests   HASH  `execution path` -> JSON, of those that hold something or wait for it
-- KEYS  taken      HASH  limit -> units that are held
-- KEYS  rates      ZSET  limit -> when its last start would have been, were they even, ms
-- KEYS  blocked    ZSET  all of score 0: limit, tenant, rank and `execution path` of who waits
-- KEYS  shares     HASH  limit -> JSON of how far its tenants are; `first`: who goes before all
-- KEYS  capacities HASH  `d:` | `s:` and a resource -> its capacity, defined or of the settings
-- KEYS  looks      ZSET  `execution path` -> when it is looked at, ms
-- KEYS  nexts      ZSET  rate for which somebody waits -> when the next may begin, ms
-- KEYS  usage      HASH  what is counted (`uses`, `waits`, …) and a limit -> how many, or ms
-- KEYS  watch      ZSET  `limits: ` -> when to look at all of it, ms
-- ARGV  now        int   the caller's clock, ms
-- ARGV  names      list  limits that may have become free
-- ARGV  patience   int   ms after which one that waits for several goes before all others
-- ARGV  most       int   how many are to be looked at, at the most
-- ARGV  soon       int   ms after which those that got something are looked at
-- ARGV  kept       int   ms for which usage is kept
--
-- USES  limits pass_on
--
-- Reply  {'LOOKED', {member, …}, {{member, owner, held as 1 | 0}, …}}  who has got what it waited
--        for, and whose tokens are to be looked at

for _, name in ipairs(redis.call('ZRANGEBYSCORE', nexts, '-inf', now, 'LIMIT', 0, 100)) do
    pass_on(name)
end
for _, name in ipairs(names) do
    pass_on(name)
end
local found = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', looks, '-inf', now, 'LIMIT', 0, most)) do
    local request = read_request(member)
    if request and request.at ~= '' then
        local waited = now - request.asked >= patience and #request.wants > 1
        if waited and not redis.call('HGET', shares, 'first') then
            redis.call('HSET', shares, 'first', member)
        end
        pass_on(request.at)
        request = read_request(member)
    end
    if request then
        local age = now - (request.held == 1 and request.since or request.asked)
        redis.call('ZADD', looks, now + math.max(soon, math.min(age, 10 * soon)), member)
        found[#found + 1] = {member, request.owner, request.held}
    else
        redis.call('ZREM', looks, member)
    end
end
watch_limits()
return {'LOOKED', granted, found}
