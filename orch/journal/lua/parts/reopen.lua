-- reopen.lua: a step that ended lives again. `token`: {path, status, limit, listens, mark, number,
-- waiting}; limit: ms within which a worker must take it, or 0; listens: the subscription of an
-- external one, or ''. The rest is of a step that is joined: mark: `/` of branches, `[` of items,
-- `@` of a loop; number: the iteration of a loop that goes on, or 1 + the first member that waits
-- to be tried again, 0: none does; waiting: how many do.
-- Needs decide_join, and steps, items, watch, listening, id, now and grace of the script.

-- Its count, from the ends of its members that still hold.
local function recount(path, state, mark, first)
    local kept = mark == '[' and items or steps
    local succeeded, failed = 0, 0
    for number = first, first + state[8] - 1 do
        local scope = mark == '/' and path .. '/' .. number or path .. '[' .. number .. ']'
        if redis.call('HEXISTS', kept, '=' .. scope) == 1 then
            succeeded = succeeded + 1
        elseif redis.call('HEXISTS', kept, '!' .. scope) == 1 then
            failed = failed + 1
        end
    end
    state[9], state[13] = state[8] - succeeded - failed, failed
    if decide_join(state) then
        state[1] = 'joined'
    end
end

-- No two joins are at the same attempt. Of a loop it counts iterations and retries; of others one
-- that failed is at attempt 1 again, but its failures only grow.
local function join_again(path, state, mark, number, waiting)
    state[3] = state[3] + 1
    state[7] = now
    if mark == '@' then
        state[2], state[8] = number + 1 + state[3], 1
        recount(path, state, mark, number)
        return
    end
    state[2] = math.max(state[2], state[3]) + 1
    recount(path, state, mark, 0)
    if waiting > 0 or state[15] then
        state[15], state[16] = number, waiting
    end
end

-- A poll begins to count its checks anew.
local function reopen(token)
    local path, status, limit, listens = token[1], token[2], token[3], token[4]
    local state = cjson.decode(redis.call('HGET', steps, path))
    local due = now
    if (state[7] or 0) < 0 then
        state[7] = state[5] + state[7] + 1
    end
    state[1], state[5], state[6] = status, now, ''
    if status == 'joining' then
        join_again(path, state, token[5], token[6], token[7])
    else
        state[2], state[3], state[4] = state[2] + 1, 0, 0
        if status == 'dispatched' then
            state[8], state[10] = state[8] and 0, state[10] and 0
            due = now + grace
            if limit > 0 then
                state[8], state[9], state[10] = state[8] or 0, state[9] or 0, now + limit
                due = math.min(due, state[10])
            end
        elseif status == 'entering' then
            state[10] = state[10] and 0
        elseif status == 'calling' or status == 'external' then
            state[7], state[10] = now, state[10] and 0
        else
            due = math.max(state[10] or now, now)
        end
    end
    redis.call('HSET', steps, path, cjson.encode(state))
    if listens ~= '' then
        redis.call('HSET', steps, '?' .. path, listens)
        redis.call('ZADD', listening, 0, listens .. ' ' .. id .. ' ' .. path)
    end
    redis.call('ZADD', watch, due, id .. ' ' .. path)
end
