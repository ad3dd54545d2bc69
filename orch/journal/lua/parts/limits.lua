-- limits.lua: what is free of the limits, who takes it, and who waits for which of them.
-- A request is {held = 1 | 0, attempt, owner, tenant, weight, rank, at, asked, since, wants}; `at`
-- is the limit at which it waits, '' if at none; `pending` 1: it has waited, and has not begun with
-- what it got; a want is {name, kind, units, size, burst, counted
-- as 1 | 0}. It waits at one limit, the first that had nothing for it, in the order of `blocked`.
-- Needs now, soon and kept, and requests, taken, rates, blocked, shares, capacities, looks, nexts
-- and usage of the script.
local SEP, BEHIND, SLACK, AHEAD = '\31', ' ', 500, 400
local granted = {}
local function read_request(member)
    local text = redis.call('HGET', requests, member)
    return text and cjson.decode(text)
end
local function write_request(member, request)
    redis.call('HSET', requests, member, cjson.encode(request))
end
local function count(want, what, by)
    if want[6] == 1 then
        redis.call('HINCRBY', usage, what .. ' ' .. want[1], string.format('%.0f', by))
        redis.call('PEXPIRE', usage, kept)
    end
end
local function note_peak(want, held)
    local field = 'peak ' .. want[1]
    if want[6] == 1 and held > tonumber(redis.call('HGET', usage, field) or 0) then
        redis.call('HSET', usage, field, held)
    end
end
local function capacity_of(want)
    if want[2] ~= 'resource' then
        return want[4]
    end
    local found = redis.call('HMGET', capacities, 'd:' .. want[1], 's:' .. want[1])
    return tonumber(found[1] or found[2] or nil)
end
-- What is kept free of a limit for the one request that goes before all others.
local function kept_free(name, member)
    local first = redis.call('HGET', shares, 'first')
    local request = first and first ~= member and read_request(first)
    for _, want in ipairs(request and request.wants or {}) do
        if want[1] == name then
            return want[3]
        end
    end
    return 0
end
-- free | full | unknown | more (than there is); of a rate also the instant of the last start. What
-- became free for those who wait while nobody looked is not lost to them. As many as begin in AHEAD
-- ms may be on their way to a worker: were there more, they would begin at once when one is free.
local function ask(want, member, waits)
    if want[2] == 'rate' then
        local last = tonumber(redis.call('ZSCORE', rates, want[1]) or 0)
        local ahead = tonumber(redis.call('HGET', taken, want[1]) or 0)
        if ahead >= math.max(math.ceil(AHEAD / want[4]), want[5]) then
            return 'full', math.max(last, now + AHEAD / 2 + (want[5] - 1) * want[4])
        end
        local from = math.max(last, waits and now - SLACK or now)
        return from <= now + (want[5] - 1) * want[4] + 0.001 and 'free' or 'full', from
    end
    local most = capacity_of(want)
    if not most or want[3] > most then
        return most and 'more' or 'unknown', most
    end
    local free = most - tonumber(redis.call('HGET', taken, want[1]) or 0)
    return want[3] <= free - kept_free(want[1], member) and 'free' or 'full'
end
local function entry_of(member, request)
    return table.concat({request.at, request.tenant, request.rank, member}, SEP)
end
local function leave_line(member, request)
    if request.at ~= '' then
        redis.call('ZREM', blocked, entry_of(member, request))
        request.at = ''
    end
end
-- Of a rate: when the next may begin.
local function note_next(want, from)
    if want[2] == 'rate' then
        local at = math.max(from - (want[5] - 1) * want[4], now)
        redis.call('ZADD', nexts, string.format('%.0f', math.ceil(at)), want[1])
    end
end
local function wait_at(member, request, want, from)
    leave_line(member, request)
    request.at = want[1]
    redis.call('ZADD', blocked, 0, entry_of(member, request))
    write_request(member, request)
    note_next(want, from or 0)
end
local function take(member, request, waited)
    for _, want in ipairs(request.wants) do
        if want[2] == 'rate' then
            local _, from = ask(want, member, want[1] == waited)
            redis.call('ZADD', rates, string.format('%.3f', from + want[4]), want[1])
            redis.call('ZREMRANGEBYSCORE', rates, '-inf', now - 60000)
            local last = redis.call('ZREVRANGE', rates, 0, 0, 'WITHSCORES')[2]
            redis.call('PEXPIRE', rates, math.ceil(math.max(tonumber(last) - now, 0)) + 60000)
        else
            note_peak(want, redis.call('HINCRBY', taken, want[1], want[3]))
        end
        if want[2] == 'rate' and waited then
            redis.call('HINCRBY', taken, want[1], 1)
        end
        count(want, 'uses', 1)
        if want[1] == waited then
            count(want, 'waits', 1)
            count(want, 'waited', math.max(now - request.asked, 0))
        end
    end
    leave_line(member, request)
    request.held, request.since, request.pending = 1, now, waited and 1 or 0
    write_request(member, request)
    redis.call('ZADD', looks, now + soon, member)
    if redis.call('HGET', shares, 'first') == member then
        redis.call('HDEL', shares, 'first')
    end
end
local function put_back(want, units)
    if redis.call('HINCRBY', taken, want[1], -units) <= 0 then
        redis.call('HDEL', taken, want[1])
    end
end
-- Forget a request; what it held is free.
local function drop(member, request)
    leave_line(member, request)
    for _, want in ipairs(request.held == 1 and request.wants or {}) do
        if want[2] ~= 'rate' then
            put_back(want, want[3])
        elseif request.pending == 1 then
            put_back(want, 1)
        end
        count(want, 'held', math.max(now - request.since, 0) * want[3])
    end
    redis.call('HDEL', requests, member)
    redis.call('ZREM', looks, member)
    if redis.call('HGET', shares, 'first') == member then
        redis.call('HDEL', shares, 'first')
    end
end
-- Whether it can begin; else the want that hinders it, how, and what `ask` said of it.
local function find_hindrance(member, request, waits)
    for _, want in ipairs(request.wants) do
        local word, from = ask(want, member, want[1] == waits)
        if word ~= 'free' then
            return want, word, from
        end
    end
end
