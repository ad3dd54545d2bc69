-- resume.lua: a paused execution goes on; every live token is looked at when it should be.
--
-- KEYS  record   HASH  its `status` must be paused
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  fields   list  flat name, value, … of the record: variables that are set
-- ARGV  event    str   text of the event
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell index pause_over wake_tokens leave_life
--
-- Reply  {'RESUMED', path, …}  the tokens that need a message
--        {'DONE', status} | {'MISSING'}

local have = redis.call('HMGET', record, 'status', 'paused', 'remains', 'deadline', 'pauses')
if not have[1] then
    return {'MISSING'}
end
if have[1] ~= 'paused' then
    return {'DONE', have[1]}
end
local held = redis.call('HMGET', record, 'held', 'at', 'queued')
redis.call('HSET', record, 'status', held[1] or 'running')
-- One command for many values, in pieces: `unpack` ends at some thousands.
for i = 1, #fields, 1000 do
    redis.call('HSET', record, unpack(fields, i, math.min(i + 999, #fields)))
end
if held[1] then
    -- It had not begun: its instant, and an instant that is its deadline, stay what they are.
    redis.call('HDEL', record, 'held', 'paused')
    if held[1] == 'queued' then
        -- It gave up its place, and asks anew.
        local since = math.max(now, tonumber(held[3]) + 1)
        redis.call('HSET', record, 'queued', string.format('%.0f', since))
    end
    redis.call('ZADD', watch, math.max(now, tonumber(held[2] or 0)), id .. ' ')
    leave_life(life)
    tell({event})
    move_index('paused', held[1], '')
    return {'RESUMED'}
end
local paused = tonumber(have[2] or now)
-- What is in a branch that is paused rests on.
local pauses = have[5] and cjson.decode(have[5]) or {}
local reply = wake_tokens(function(path)
    return math.min(paused, pause_over(pauses, path) or paused)
end, function(path)
    return pause_over(pauses, path)
end)
table.insert(reply, 1, 'RESUMED')
if have[4] then
    local deadline = string.format('%.0f', tonumber(have[4]) + now - paused)
    redis.call('HSET', record, 'deadline', deadline)
end
if have[3] then
    redis.call('ZADD', watch, now + tonumber(have[3]), id .. ' ')
end
redis.call('HDEL', record, 'paused', 'remains')
leave_life(life)
tell({event})
move_index('paused', 'running', '')
return reply
