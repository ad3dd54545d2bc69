-- tell.lua: write events into the history, and onto the stream if somebody listens.
-- A claim of the same worker, at the same instant, as in the entry before, or by `before`, who
-- held the attempt whose end that entry alone tells, takes a few bytes: see
-- workflows/entries.py. The stream gets it whole.
-- Needs hear, and history of the script; tell_claim also now.
local told, latest = 0, ''
local function follow_on(text, prior, before)
    if string.byte(prior) == 129 then
        before = string.match(prior, '^[^%z]*%z(.*)$', 8)
    end
    local same = before and string.match(before, '^[^{].*/')
    local zero = string.find(text, '\0', 8, true)
    if not same or not zero or string.sub(prior, 2, 7) ~= string.sub(text, 2, 7) then
        return text
    end
    local rest = zero + #same + 1
    if string.sub(text, zero + 1, rest - 1) ~= same or string.find(text, '/', rest, true) then
        return text
    end
    return '\128' .. string.sub(text, 8, zero) .. string.sub(text, rest)
end
local function tell(texts, before)
    hear(texts)
    local last = texts[#texts] or latest
    for i = #texts, 1, -1 do
        if string.byte(texts[i]) == 129 then
            texts[i] = follow_on(texts[i], texts[i - 1] or latest, told + i == 2 and before)
        end
    end
    told, latest = told + #texts, last
    for i = 1, #texts, 1000 do
        redis.call('RPUSH', history, unpack(texts, i, math.min(i + 999, #texts)))
    end
end
local function tell_claim(path, attempt, owner, before)
    local what = attempt == 1 and path or string.format('%.0f', attempt) .. path
    tell({'\129' .. struct.pack('>I6', now) .. what .. '\0' .. owner}, before)
end
-- The caller knows how the last of a few texts is stored.
local function tell_short(texts, short)
    hear(texts)
    latest = texts[#texts]
    texts[#texts] = short
    told = told + #texts
    redis.call('RPUSH', history, unpack(texts))
end
