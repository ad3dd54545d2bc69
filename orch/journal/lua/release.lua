-- release.lua: steps give back what they hold of the limits, or wait no longer; others get it.
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
-- ARGV  leave      list  {member, owner} of each; one that somebody else has taken over stays
-- ARGV  soon       int   ms after which those that got something are looked at
-- ARGV  kept       int   ms for which usage is kept
--
-- USES  limits pass_on
--
-- Reply  {'RELEASED', member, …}  who has got what it waited for

local left = {}
for _, each in ipairs(leave) do
    local text = redis.call('HGET', requests, each[1])
    local request = text and cjson.decode(text)
    if request and request.owner == each[2] then
        drop(each[1], request)
        left[#left + 1] = request
    end
end
for _, request in ipairs(left) do
    pass_on_all(request)
end
if left[1] then
    watch_limits()
end
return {'RELEASED', unpack(granted)}
