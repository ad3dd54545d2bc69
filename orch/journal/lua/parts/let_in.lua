-- let_in.lua: those that wait get the slots that are free, in their order; who did. Each waits
-- until fewer than its own limit are held; a member is `execution limit policy`.
-- Needs held and waiting of the script.
local function let_in()
    local found = {}
    while #found < 1000 do
        local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
        local limit = first[1] and tonumber(string.match(first[1], '^%S+ (%d+)'))
        if not limit or redis.call('ZCARD', held) >= limit then
            break
        end
        redis.call('ZREM', waiting, first[1])
        redis.call('ZADD', held, first[2], first[1])
        found[#found + 1] = string.match(first[1], '^%S+')
    end
    return found
end
