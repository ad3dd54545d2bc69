-- cancel_tokens.lua: end every live token in a branch or an iteration of `step`; nil: every one.
-- `calls` collects those that waited for a child, as `path attempt`. Those of a status in
-- `except` are left alone, and counted as `spared`; those of `opens`, which the script has just
-- written, are not live yet: the work of the next rung is not what the rung before it did.
-- Needs tell, stop_listening, withdraw, and record, steps, watch, id and now of the script.
local calls = {}
local spared = 0
local function cancel_tokens(step, except, opens)
    local opened = {}
    for _, open in ipairs(opens or {}) do
        opened[open[1]] = 1
    end
    local ended = {completed = 1, failed = 1, skipped = 1, cancelled = 1}
    for _, name in ipairs(redis.call('HKEYS', steps)) do
        local first = string.sub(name, 1, 1)
        local behind = step and string.sub(name, #step + 1, #step + 1)
        local below = step and string.sub(name, 1, #step) == step and (behind == '/' or behind == '[')
        if first ~= '=' and first ~= '!' and first ~= '?' and (below or not step) then
            local state = cjson.decode(redis.call('HGET', steps, name))
            if not ended[state[1]] and not opened[name] then
                if state[1] == 'calling' then
                    calls[#calls + 1] = name .. ' ' .. state[2]
                elseif state[1] == 'listening' then
                    stop_listening(name)
                elseif state[1] == 'escalated' then
                    stop_listening(name)
                    withdraw(name)
                elseif state[1] == 'external' then
                    stop_listening(name)
                    redis.call('HDEL', record, 'b:' .. name)
                end
                if except and except[state[1]] then
                    spared = spared + 1
                else
                    if state[1] == 'running' then
                        redis.call('HDEL', record, 'b:' .. name)
                    end
                    if (state[7] or 0) < 0 then
                        state[7] = state[5] + state[7] + 1
                    end
                    state[1] = 'cancelled'
                    state[5] = now
                    redis.call('HSET', steps, name, cjson.encode(state))
                    redis.call('ZREM', watch, id .. ' ' .. name)
                    tell({cjson.encode({now, 'cancelled', name, state[2]})})
                end
            end
        end
    end
end
