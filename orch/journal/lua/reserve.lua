-- reserve.lua: a step that is about to begin takes all that it wants of the limits, or waits.
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
-- ARGV  member     str   who asks
-- ARGV  attempt    int   its attempt: a later one takes over what an earlier one holds
-- ARGV  owner      str   who holds the attempt; only who names it again may give anything back
-- ARGV  tenant     str   with whom it shares
-- ARGV  weight     str   how much of what there is the tenant gets, beside the others
-- ARGV  rank       str   its place among those of its tenant
-- ARGV  wants      list  {name, kind, units, size, burst, counted as 1 | 0} of each
-- ARGV  soon       int   ms after which it is looked at
-- ARGV  kept       int   ms for which usage is kept
--
-- USES  limits pass_on
--
-- Reply  {'HELD', '', member, …} | {'WAITS', limit, member, …}  who else has got what it waited for
--        {'UNKNOWN', limit} | {'MORE', limit, capacity}  it can never have it
--        {'SUPERSEDED'}  a later attempt has asked

local request = read_request(member)
if request and request.attempt > attempt then
    return {'SUPERSEDED'}
end
local asked, place = now, rank
if request and cjson.encode(request.wants) ~= cjson.encode(wants) then
    asked, place = request.asked, request.rank
    drop(member, request)
    pass_on_all(request)
    request = nil
end
if request then
    request.attempt, request.owner = attempt, owner
    write_request(member, request)
    if request.held == 0 then
        pass_on(request.at)
    elseif request.pending == 1 then
        note_begun(member, request)
    end
else
    request = {held = 0, attempt = attempt, owner = owner, tenant = tenant, rank = place, at = '',
        weight = tonumber(weight), asked = asked, since = 0, pending = 0, wants = wants}
    local hindered, last
    for _, want in ipairs(wants) do
        local word, found = ask(want, member)
        if word == 'unknown' or word == 'more' then
            watch_limits()
            return {word == 'more' and 'MORE' or 'UNKNOWN', want[1], found or 0}
        end
        if not hindered and (word == 'full' or is_waited_at(want[1])) then
            hindered, last = want, found
        end
    end
    if hindered then
        wait_at(member, request, hindered, last)
        redis.call('ZADD', looks, now + soon, member)
        pass_on(hindered[1])
    else
        take(member, request)
    end
end
watch_limits()
request = read_request(member)
if not request then
    return {'WAITS', ''}
end
local others = {}
for _, each in ipairs(granted) do
    if each ~= member then
        others[#others + 1] = each
    end
end
return {request.held == 1 and 'HELD' or 'WAITS', request.at, unpack(others)}
