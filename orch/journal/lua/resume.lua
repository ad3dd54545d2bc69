-- resume.lua: a paused execution goes on; every live token is looked at when it should be.
--
-- KEYS  record   HASH  its `status` must be paused
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  fields   list  flat name, value, … of the record: variables that are set
-- ARGV  event    str   text of the event
--
-- USES  tell index
--
-- Reply  {'RESUMED', path, …}  the tokens that need a message
--        {'DONE', status} | {'MISSING'}

local have = redis.call('HMGET', record, 'status', 'paused', 'remains', 'deadline')
if not have[1] then
    return {'MISSING'}
end
if have[1] ~= 'paused' then
    return {'DONE', have[1]}
end
local held = redis.call('HMGET', record, 'held', 'at')
redis.call('HSET', record, 'status', held[1] or 'running')
-- One command for many values, in pieces: `unpack` ends at some thousands.
for i = 1, #fields, 1000 do
    redis.call('HSET', record, unpack(fields, i, math.min(i + 999, #fields)))
end
if held[1] then
    -- It had not begun: its instant, and an instant that is its deadline, stay what they are.
    redis.call('HDEL', record, 'held', 'paused')
    redis.call('ZADD', watch, math.max(now, tonumber(held[2] or 0)), id .. ' ')
    tell({event})
    move_index('paused', held[1], '')
    return {'RESUMED'}
end
local paused = tonumber(have[2] or now)
local ended = {completed = 1, failed = 1, skipped = 1, cancelled = 1}
local timers = {retrying = 1, waiting = 1, polling = 1}
local still = {joining = 1, listening = 1, calling = 1, external = 1}
local reply = {'RESUMED'}
for _, name in ipairs(redis.call('HKEYS', steps)) do
    local first = string.sub(name, 1, 1)
    if first ~= '=' and first ~= '!' and first ~= '?' then
        local state = cjson.decode(redis.call('HGET', steps, name))
        local status = state[1]
        if not ended[status] then
            local due = now
            if status == 'dispatched' then
                due = now + grace
                if (state[10] or 0) > 0 then
                    -- The time in which a worker must take it stood still.
                    state[10] = state[10] + now - math.max(paused, state[5])
                    due = math.min(due, math.max(state[10], now))
                end
                -- As of now, so that no queue counts as having overtaken the new message.
                state[5] = now
                reply[#reply + 1] = name
            elseif still[status] then
                -- Its timeout stood still, too: its branches could not go on.
                state[7] = state[7] + now - math.max(paused, state[7])
                if status == 'external' then
                    state[5] = now  -- and so did the time of its next heartbeat
                end
            elseif timers[status] then
                due = state[10] or now
            end
            redis.call('HSET', steps, name, cjson.encode(state))
            redis.call('ZADD', watch, due, id .. ' ' .. name)
        end
    end
end
if have[4] then
    local deadline = string.format('%.0f', tonumber(have[4]) + now - paused)
    redis.call('HSET', record, 'deadline', deadline)
end
if have[3] then
    redis.call('ZADD', watch, now + tonumber(have[3]), id .. ' ')
end
redis.call('HDEL', record, 'paused', 'remains')
tell({event})
move_index('paused', 'running', '')
return reply
