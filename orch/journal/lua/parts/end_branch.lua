-- end_branch.lua: count the end of a branch, an iteration or an item, and let the next one that
-- waits for its turn begin: its first token is written, and `handoff`, if there is any, takes it.
-- `branch`, `handoff`: as in settle.lua. The answer is the reply of the script.
-- Needs decide_join, cancel_tokens, hand_on, call_with, reopen, and steps, items, record, watch,
-- id, now, grace and ballot of the script.
local function begin_next(branch, join, handoff)
    local number, mark = join[14], branch[5]
    local first = branch[6][#branch[6] - join[8] + number + 1] or branch[6][1]
    local path = branch[1] .. '/' .. number .. '/' .. first[1]
    if mark == '[' then
        path = branch[1] .. '[' .. number .. ']/' .. first[1]
        if (handoff[7] or 0) > 0 then
            handoff[6][#handoff[6] + 1] = branch[1] .. '/' .. math.floor(number / handoff[7])
        end
    end
    join[14] = number + 1
    local taken = handoff[1] and hand_on(handoff, path, first[2])
    if not taken then
        redis.call('HSET', steps, path, first[2])
        local due = first[3] > 0 and math.min(now + grace, first[3]) or now + grace
        redis.call('ZADD', watch, due, id .. ' ' .. path)
    end
    return path, taken
end

-- The turn of one that is tried again: the paths of its tokens that need a message.
local function begin_again(branch, join)
    local scope = branch[1] .. '/' .. join[15] - 1
    if branch[5] == '[' then
        scope = branch[1] .. '[' .. join[15] - 1 .. ']'
    end
    local turn = cjson.decode(redis.call('HGET', items, '@' .. scope))
    redis.call('HDEL', items, '@' .. scope)
    join[15], join[16] = turn[1], join[16] - 1
    call_with('HDEL', steps, turn[3])
    call_with('HDEL', items, turn[3])
    local paths = {}
    for _, token in ipairs(turn[2]) do
        reopen(token)
        if token[2] == 'dispatched' then
            paths[#paths + 1] = token[1]
        end
    end
    return paths
end

-- What was kept of an item that failed stays: it may be tried again from where it stood.
local function end_branch(branch, handoff)
    local join = cjson.decode(redis.call('HGET', steps, branch[1]))
    local ok = branch[3] == 1
    local result = (ok and '=' or '!') .. branch[2]
    if branch[5] ~= '[' then
        redis.call('HSET', steps, result, branch[4])
    else
        redis.call('HSET', items, result, branch[4])
        if ok then
            redis.call('HDEL', record, 'o:' .. branch[2], 'e:' .. branch[2])
        end
    end
    if join[1] ~= 'joining' then
        return {'SETTLED', '', calls}
    end
    join[9] = join[9] - 1
    join[13] = (join[13] or 0) + (ok and 0 or 1)
    if join[18] and ballot ~= '' then
        join[17] = tonumber(string.match(branch[2], '%d+$'))
        join[18][ballot] = (join[18][ballot] or 0) + 1
    end
    if decide_join(join) then
        join[1], join[5] = 'joined', now
        redis.call('HSET', steps, branch[1], cjson.encode(join))
        redis.call('ZADD', watch, now + grace, id .. ' ' .. branch[1])
        if join[9] > 0 then
            cancel_tokens(branch[1])
        end
        return {'JOINED', branch[1], calls}
    end
    local reply = {'SETTLED', '', calls}
    if (join[15] or 0) > 0 then
        reply[4] = begin_again(branch, join)
    elseif branch[5] and join[14] < join[8] then
        local path, taken = begin_next(branch, join, handoff)
        reply[4] = path
        for i = 2, taken and #handoff[5] + #handoff[6] + 2 or 0 do
            reply[i + 3] = taken[i]
        end
    end
    redis.call('HSET', steps, branch[1], cjson.encode(join))
    return reply
end
