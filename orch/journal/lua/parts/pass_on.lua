-- pass_on.lua: what has become free of a limit goes to those that wait at it. Tenants share by
-- weight (start-time fair queueing: each grant moves the clock of its tenant on by units / weight,
-- and the one whose clock is least goes next), those of a tenant go by rank. Who is hindered by
-- another limit goes to wait there. `granted`: who got all that they want, and those that never can.
-- Needs all of limits.lua.
local function read_share(name)
    local text = redis.call('HGET', shares, name)
    return text and cjson.decode(text) or {floor = 0, clocks = {}}
end
local function is_waited_at(name)
    local low, high = '[' .. name .. SEP, '(' .. name .. BEHIND
    return redis.call('ZRANGEBYLEX', blocked, low, high, 'LIMIT', 0, 1)[1]
end
local function next_at(name, share)
    local low, high = '[' .. name .. SEP, '(' .. name .. BEHIND
    local first = redis.call('HGET', shares, 'first')
    local request = first and read_request(first)
    if request and request.at == name then
        return first
    end
    local best, clock, rank
    for _ = 1, 100 do
        local entry = redis.call('ZRANGEBYLEX', blocked, low, high, 'LIMIT', 0, 1)[1]
        if not entry then
            break
        end
        local tenant, its, member = string.match(entry, '^[^\31]*\31([^\31]*)\31([^\31]*)\31(.*)$')
        local at = math.max(share.clocks[tenant] or 0, share.floor)
        if not best or at < clock or (at == clock and its < rank) then
            best, clock, rank = member, at, its
        end
        low = '(' .. name .. SEP .. tenant .. BEHIND
    end
    return best
end
local function charge(name, share, request)
    local units = 1
    for _, want in ipairs(request.wants) do
        units = want[1] == name and want[3] or units
    end
    share.floor = math.max(share.clocks[request.tenant] or 0, share.floor)
    share.clocks[request.tenant] = share.floor + units / request.weight
    for tenant, clock in pairs(share.clocks) do
        share.clocks[tenant] = clock > share.floor and clock or nil
    end
    redis.call('HSET', shares, name, cjson.encode(share))
end
local function pass_on(name)
    for _ = 1, 100 do
        local share = read_share(name)
        local member = next_at(name, share)
        if not member then
            redis.call('HDEL', shares, name)
            redis.call('ZREM', nexts, name)
            return
        end
        local request = read_request(member)
        local want, word, from = find_hindrance(member, request, name)
        if not want then
            charge(name, share, request)
            take(member, request, name)
            granted[#granted + 1] = member
        elseif word ~= 'full' then
            drop(member, request)
            granted[#granted + 1] = member
        elseif want[1] ~= name then
            wait_at(member, request, want, from)
        else
            note_next(want, from)
            return
        end
    end
    redis.call('ZADD', nexts, now, name)
end
local function pass_on_all(request)
    for _, want in ipairs(request.wants) do
        pass_on(want[1])
    end
end
-- It has waited, and begins now.
local function note_begun(member, request)
    for _, want in ipairs(request.wants) do
        if want[2] == 'rate' then
            put_back(want, 1)
        end
    end
    request.pending = 0
    write_request(member, request)
    for _, want in ipairs(request.wants) do
        if want[2] == 'rate' then
            pass_on(want[1])
        end
    end
end
local function watch_limits()
    local due
    for _, key in ipairs({nexts, looks}) do
        local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
        if first and (not due or tonumber(first) < due) then
            due = tonumber(first)
        end
    end
    if due then
        redis.call('ZADD', watch, string.format('%.0f', due), 'limits: ')
    else
        redis.call('ZREM', watch, 'limits: ')
    end
end
