-- retry.lua: an execution that failed goes on from the steps that failed; where it has gates,
-- when it has its slots again.
--
-- KEYS  record   HASH  its `status` must be failed
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  listening ZSET `subscription execution path` of those that wait for a report
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  tokens   list  {path, dispatched | calling | external | waiting | entering | joining,
--                      limit, listens} of each step that lives again; limit: when a worker must
--                      have taken it, ms, or 0; listens: the subscription of an external one, or ''
-- ARGV  drops    list  fields of the steps' hash that go: failures that no longer hold
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  deadline int   when the execution must have ended, ms, or 0
-- ARGV  events   list  texts of events
-- ARGV  error    str   the head of the error that it failed with, or ''
--
-- USES  tell index decide_join
--
-- Reply  {'RETRIED'} | {'DONE', status} | {'MISSING'}

local have, gates, queued = unpack(redis.call('HMGET', record, 'status', 'gates', 'queued'))
if not have then
    return {'MISSING'}
end
if have ~= 'failed' then
    return {'DONE', have}
end
redis.call('HSET', record, 'status', gates and 'queued' or 'running')
redis.call('HDEL', record, 'error', 'output', 'ended', 'paused', 'remains', 'pauses')
for _, name in ipairs(drops) do
    redis.call('HDEL', steps, name)
end

-- The count of a parallel step, from the ends of its branches that still hold.
local function recount(path, state)
    local succeeded, failed = 0, 0
    for number = 0, state[8] - 1 do
        local branch = path .. '/' .. number
        if redis.call('HEXISTS', steps, '=' .. branch) == 1 then
            succeeded = succeeded + 1
        elseif redis.call('HEXISTS', steps, '!' .. branch) == 1 then
            failed = failed + 1
        end
    end
    state[9], state[13] = state[8] - succeeded - failed, failed
    if decide_join(state) then
        state[1] = 'joined'
    end
end

for _, token in ipairs(tokens) do
    local path, status = token[1], token[2]
    local state = cjson.decode(redis.call('HGET', steps, path))
    local due = now
    state[1], state[5], state[6] = status, now, ''
    if status == 'joining' then
        -- A parallel step that failed is at attempt 1 again; its failures only grow.
        state[3] = state[3] + 1
        state[2] = math.max(state[2], state[3]) + 1
        state[7] = now
        recount(path, state)
    else
        state[2], state[3], state[4] = state[2] + 1, 0, 0
        if status == 'dispatched' then
            -- A poll begins to count its checks anew.
            state[8], state[10] = state[8] and 0, state[10] and 0
            due = now + grace
            if token[3] > 0 then
                state[8], state[9], state[10] = state[8] or 0, state[9] or 0, token[3]
                due = math.min(due, token[3])
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
    if token[4] ~= '' then
        redis.call('HSET', steps, '?' .. path, token[4])
        redis.call('ZADD', listening, 0, token[4] .. ' ' .. id .. ' ' .. path)
    end
    if not gates then
        redis.call('ZADD', watch, due, id .. ' ' .. path)
    end
end
if gates then
    -- It asks for its slots anew, and goes on when it has them.
    local since = math.max(now, tonumber(queued) + 1)
    redis.call('HSET', record, 'queued', string.format('%.0f', since))
    redis.call('HDEL', record, 'deadline')
    redis.call('ZADD', watch, now + grace, id .. ' ')
elseif deadline > 0 then
    redis.call('ZADD', watch, deadline, id .. ' ')
end
if deadline > 0 then
    redis.call('HSET', record, 'deadline', string.format('%.0f', deadline))
end
tell(events)
move_index('failed', gates and 'queued' or 'running', error)
redis.call('PERSIST', record)
redis.call('PERSIST', steps)
redis.call('PERSIST', items)
redis.call('PERSIST', history)
return {'RETRIED'}
