-- retry.lua: an execution that failed goes on from the steps that failed; where it has gates,
-- when it has its slots again.
--
-- KEYS  record   HASH  its `status` must be failed
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages; how each ended
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  listening ZSET `subscription execution path` of those that wait for a report
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  seen     int   when it had ended, ms, as the caller saw it, or 0: whenever
-- ARGV  tokens   list  each step that lives again, as in reopen.lua
-- ARGV  turns    list  flat `@scope`, text, … of `items`: members that wait for their turn to
--                      be tried again; the text is JSON of {1 + the next one or 0, its tokens,
--                      its drops}
-- ARGV  drops    list  fields of the steps' hash and of `items` that go: failures that no longer
--                      hold
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  deadline int   when the execution must have ended, ms, or 0
-- ARGV  events   list  texts of events
-- ARGV  error    str   the head of the error that it failed with, or ''
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell index call_with decide_join reopen leave_life
--
-- Reply  {'RETRIED'} | {'MISSING'}
--        {'DONE', status}  also if it was retried, and has failed again, meanwhile

local have, ended, gates, queued =
    unpack(redis.call('HMGET', record, 'status', 'ended', 'gates', 'queued'))
if not have then
    return {'MISSING'}
end
if have ~= 'failed' or (seen > 0 and seen ~= tonumber(ended)) then
    return {'DONE', have}
end
redis.call('HSET', record, 'status', gates and 'queued' or 'running')
redis.call('HDEL', record, 'error', 'output', 'ended', 'paused', 'remains', 'pauses',
    'failing', 'cancel')
call_with('HDEL', steps, drops)
call_with('HDEL', items, drops)
call_with('HSET', items, turns)
for _, token in ipairs(tokens) do
    reopen(token)
    if gates then
        redis.call('ZREM', watch, id .. ' ' .. token[1])
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
leave_life(life)
tell(events)
move_index('failed', gates and 'queued' or 'running', error)
redis.call('PERSIST', record)
redis.call('PERSIST', steps)
redis.call('PERSIST', items)
redis.call('PERSIST', history)
redis.call('PERSIST', logs)
return {'RETRIED'}
