-- end_execution.lua: end an execution from outside: cancelled, or out of time.
--
-- KEYS  record   HASH  its `status` must not be an ended one
-- KEYS  steps    HASH  path -> state; live ones become cancelled
-- KEYS  history  LIST  events
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET `subscription execution path` of those that wait for an event
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  status   str   cancelled | failed
-- ARGV  error    str   JSON of the reason
-- ARGV  event    str   text of the event
-- ARGV  keep     int   ms for which an ended execution is kept
--
-- Reply  {'ENDED', parent, calls}  parent: who called it, or ''; calls: `path attempt` of the
--        tokens that waited for a child
--        {'DONE', status} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    redis.call('ZREM', watch, id .. ' ')
    return {'MISSING'}
end
if have ~= 'running' and have ~= 'paused' then
    redis.call('ZREM', watch, id .. ' ')
    return {'DONE', have}
end
-- The record first: out of memory, Redis refuses this command before anything is changed. It
-- never refuses ZREM, which done first would have forgotten the deadline of a live execution.
redis.call('HSET', record, 'status', status, 'ended', string.format('%.0f', now), 'error', error)
local calls = {}
local ended = {completed = 1, failed = 1, skipped = 1, cancelled = 1}
for _, name in ipairs(redis.call('HKEYS', steps)) do
    local first = string.sub(name, 1, 1)
    if first == '?' then
        local what = redis.call('HGET', steps, name)
        redis.call('ZREM', listening, what .. ' ' .. id .. ' ' .. string.sub(name, 2))
        redis.call('HDEL', steps, name)
    elseif first ~= '=' and first ~= '!' then
        local state = cjson.decode(redis.call('HGET', steps, name))
        if not ended[state[1]] then
            if state[1] == 'calling' then
                calls[#calls + 1] = name .. ' ' .. state[2]
            end
            state[1] = 'cancelled'
            state[5] = now
            redis.call('HSET', steps, name, cjson.encode(state))
            redis.call('ZREM', watch, id .. ' ' .. name)
            redis.call('RPUSH', history, cjson.encode({now, 'cancelled', name, state[2]}))
        end
    end
end
redis.call('RPUSH', history, event)
redis.call('ZREM', watch, id .. ' ')
redis.call('PEXPIRE', record, keep)
redis.call('PEXPIRE', steps, keep)
redis.call('PEXPIRE', history, keep)
return {'ENDED', redis.call('HGET', record, 'parent') or '', calls}
