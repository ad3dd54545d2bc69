-- claim.lua: give the dispatched attempt of a token to a worker.
--
-- KEYS  record   HASH  its `status` decides whether anything may start
-- KEYS  steps    HASH  path -> state
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  marks    HASH  queue -> latest dispatch instant of a claimed token, ms; it may lag
--                      by 100 ms, so that most claims leave it alone
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  path     str   where the token stands
-- ARGV  owner    str   who will hold the attempt; unique to this call and its repetitions
-- ARGV  due      int   when to look at it, ms
-- ARGV  plan     str   the plan by which the caller chose `reads`
-- ARGV  queue    str   the queue that the message came from
-- ARGV  reads    list  fields of the record that the step needs; `v*` is all variables
-- ARGV  pages    list  fields of `items` that it needs
-- ARGV  quiet    int   1: a first attempt leaves no line in the history
--
-- USES  hear tell add_view pause_over unwinds
--
-- Reply  {'CLAIMED', state, value, … } in the order of `reads`, then of `pages`; `v*` gives a
--        flat list
--        {'DONE' | 'OWNED' | 'EARLY', status}  ended | held by another | not dispatched
--        {'PAUSED'} | {'ENDED', status} | {'MISSING'} | {'REPLANNED', plan}

local have = redis.call('HMGET', record, 'pauses', 'status', 'plan', unpack(reads))
local pauses = table.remove(have, 1)
if not have[1] then
    return {'MISSING'}
end
if have[1] == 'paused' then
    return {'PAUSED'}
end
if have[1] ~= 'running' and not may_undo(have[1], path) then
    return {'ENDED', have[1]}
end
if have[2] ~= plan then
    return {'REPLANNED', have[2]}
end
local text = redis.call('HGET', steps, path)
if not text then
    return {'MISSING'}
end
local state = cjson.decode(text)
local status = state[1]
-- The same owner asks again when the reply to its first call was lost on the way.
if status == 'running' and state[6] ~= owner then
    return {'OWNED', status}
end
local early = {retrying = 1, waiting = 1, entering = 1, joining = 1, joined = 1, polling = 1,
    listening = 1, emitting = 1, calling = 1, external = 1, escalated = 1}
if early[status] then
    return {'EARLY', status}
elseif status ~= 'dispatched' and status ~= 'running' then
    return {'DONE', status}
end
if status == 'dispatched' then
    if pauses and pause_over(cjson.decode(pauses), path) then
        return {'PAUSED'}
    end
    local mark = redis.call('HGET', marks, queue)
    if not mark or tonumber(mark) + 100 < state[5] then
        redis.call('HSET', marks, queue, string.format('%.0f', state[5]))
    end
    state[1] = 'running'
    state[5] = now
    state[6] = owner
    state[7] = now
    text = string.gsub(cjson.encode(state), '\\/', '/')
    redis.call('HSET', steps, path, text)
    redis.call('ZADD', watch, due, id .. ' ' .. path)
    if quiet == 0 or state[2] > 1 then
        tell_claim(path, state[2], owner)
    end
end
-- What was asked for already stands where the reply wants it.
local reply = have
reply[1] = 'CLAIMED'
reply[2] = text
add_view(reply, reads, pages)
return reply
