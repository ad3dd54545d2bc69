-- wake_tokens.lua: a pause ends: every live token that it held has its place in the watch again,
-- and the times that stood still go on. `rested`, `rests`: path -> since when a token rested
-- until now, and still does (another pause holds it, too), ms, or nil. The answer: the tokens
-- that need a message.
-- What is dispatched was so as of now, so that no queue counts as having overtaken the new
-- message; what stood still is the time in which a worker must take it, the timeout of a step
-- whose branches could not go on, and the time of the next heartbeat of an external task.
-- Needs steps, watch, id, now and grace of the script.
local function wake_tokens(rested, rests)
    local ended = {completed = 1, failed = 1, skipped = 1, cancelled = 1}
    local timers = {retrying = 1, waiting = 1, polling = 1}
    local still = {joining = 1, listening = 1, calling = 1, external = 1}
    local woken = {}
    local function wake(name, from, rest)
        local state = cjson.decode(redis.call('HGET', steps, name))
        local status, to, due = state[1], rest or now, now
        if ended[status] then
            return
        end
        if status == 'dispatched' then
            if (state[10] or 0) > 0 then
                state[10] = state[10] + math.max(to, state[5]) - math.max(from, state[5])
            end
            if not rest then
                due = now + grace
                if (state[10] or 0) > 0 then
                    due = math.min(due, math.max(state[10], now))
                end
                state[5] = now
                woken[#woken + 1] = name
            end
        elseif still[status] then
            state[7] = state[7] + math.max(to, state[7]) - math.max(from, state[7])
            if status == 'external' and not rest then
                state[5] = now
            end
        elseif timers[status] then
            due = state[10] or now
        end
        redis.call('HSET', steps, name, cjson.encode(state))
        if not rest then
            redis.call('ZADD', watch, due, id .. ' ' .. name)
        end
    end
    for _, name in ipairs(redis.call('HKEYS', steps)) do
        local first = string.sub(name, 1, 1)
        if first ~= '=' and first ~= '!' and first ~= '?' then
            local from, rest = rested(name), rests(name)
            if from and from ~= rest then
                wake(name, from, rest)
            end
        end
    end
    return woken
end
