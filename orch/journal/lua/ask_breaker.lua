-- ask_breaker.lua: count calls of a capability, and say whether an attempt may make another one.
-- A repetition counts its calls twice, which does no more than that.
--
-- KEYS  breaker  HASH  `calls` in the window; where it is open `since`, `until`, `why`, `by`,
--                      `probes`, `passed` of them, and `asked`: how many it sent away
-- KEYS  changes  LIST  the latest changes
-- KEYS  notes    HASH  `>id` -> JSON of a change that is to be remembered
-- ARGV  now      int   the caller's clock, ms
-- ARGV  attempt  str   who asks, or has ended; '' for nobody
-- ARGV  wants    int   1: it asks whether it may call
-- ARGV  ended    str   'ok' | 'bad': what it came to, which counts if it was a probe; '' if nothing
-- ARGV  calls    list  {number of a bucket, calls, failures} of each bucket
-- ARGV  why      str   what the latest failure says
-- ARGV  policy   list  {failure rate, ms in a bucket, buckets, least calls, ms open, probes}
-- ARGV  keep     int   ms for which it is kept
-- ARGV  name     str   the capability, if changes are to be remembered, or ''
--
-- USES  note_change
--
-- Reply  {word, until, since, first as 1 | 0, changed}  word: CLOSED; OPEN: not before `until`, or
--        not before somebody closes it, if that is 0; HALF_OPEN: probes are on their way; PROBE: it
--        may call. first: it should be the next probe. changed: what this call made of the
--        breaker: 'opened' | 'reopened' | 'closed' | ''

local rate, width, buckets, minimum, open_for, most = unpack(policy)
local names = {'since', 'until', 'probes', 'passed', 'asked', 'calls'}
local have = redis.call('HMGET', breaker, unpack(names))
local since, over, probes, passed, asked, counted = unpack(have)

local function written(...)
    redis.call('HSET', breaker, ...)
    redis.call('PEXPIRE', breaker, keep)
end

local function open(word, begun)
    over = now + open_for
    redis.call('HDEL', breaker, 'probes', 'passed', 'asked', 'calls', 'by')
    written('since', begun, 'until', string.format('%.0f', over), 'why', why)
    note_change(word, '', why)
    return {'OPEN', over, tonumber(begun), 0, word}
end

if not since then
    local sums, all, bad, new = {}, 0, 0, 0
    local oldest = math.floor(now / width) - buckets
    local function add(each)
        if each[1] > oldest then
            local sum = sums[each[1]] or {each[1], 0, 0}
            sum[2], sum[3] = sum[2] + each[2], sum[3] + each[3]
            all, bad, sums[each[1]] = all + each[2], bad + each[3], sum
        end
    end
    if #calls > 0 then
        for _, each in ipairs(counted and cjson.decode(counted) or {}) do
            add(each)
        end
        for _, each in ipairs(calls) do
            add(each)
            new = new + each[3]
        end
        if new > 0 and all >= minimum and bad >= rate * all then
            return open('opened', string.format('%.0f', now))
        end
        local list = {}
        for _, sum in pairs(sums) do
            list[#list + 1] = sum
        end
        written('calls', cjson.encode(list))
    end
    return {'CLOSED', 0, 0, 0, ''}
end

over, passed, asked = tonumber(over), tonumber(passed or 0), tonumber(asked or 0)
probes = probes and cjson.decode(probes) or {}
if ended ~= '' and probes[attempt] then
    if ended == 'bad' then
        return open('reopened', since)
    end
    probes[attempt], passed = nil, passed + 1
    if passed >= most then
        redis.call('DEL', breaker)
        note_change('closed', '', '')
        return {'CLOSED', 0, 0, 0, 'closed'}
    end
    written('probes', cjson.encode(probes), 'passed', passed)
end
if over == 0 or now < over then
    if wants == 1 then
        asked = asked + 1
        written('asked', asked)
    end
    return {'OPEN', over, tonumber(since), (wants == 1 and asked <= most) and 1 or 0, ''}
end
local live = 0
for holder, expiry in pairs(probes) do
    if expiry > now and holder ~= attempt then
        live = live + 1
    end
end
if wants == 0 or live >= most then
    return {'HALF_OPEN', over, tonumber(since), 0, ''}
end
-- Who dies with a probe gives it back by its expiry.
probes[attempt] = now + open_for
written('probes', cjson.encode(probes))
return {'PROBE', over, tonumber(since), 0, ''}
