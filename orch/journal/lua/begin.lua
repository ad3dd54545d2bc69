-- begin.lua: an execution that was scheduled, or queued, begins with its first tokens.
--
-- KEYS  record   HASH  its `status` must be the one from before its beginning
-- KEYS  steps    HASH  path -> state
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  totals   HASH  of its partition: executions that began, and what became of them
-- KEYS  listening ZSET `subscription execution path` of those that wait for an event
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  expect   str   the status that it must have
-- ARGV  since    int   since when it asks for its slots, ms; 0: it has no gates
-- ARGV  status   str   the one that it comes to: it may end at once
-- ARGV  name     str   the head in the index of the error with which it does, or ''
-- ARGV  fields   list  flat name, value, … of the record, `status` among them
-- ARGV  opens    list  {path, state, due | 0} of each step that is written
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  events   list  texts of events
-- ARGV  pages    list  flat name, value, … of `items`
-- ARGV  listens  list  members of `listening`
-- ARGV  ended    int   1: it has ended already
-- ARGV  keep     int   ms for which an ended execution is kept
-- ARGV  look     int   when to look at the execution as a whole, ms, or 0
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell call_with write_tokens index expire say_ended leave_life
--
-- Reply  {'BEGUN'} | {'DONE', status} | {'MISSING'}

local have, queued = unpack(redis.call('HMGET', record, 'status', 'queued'))
if not have then
    redis.call('ZREM', watch, id .. ' ')
    return {'MISSING'}
end
if have ~= expect or (since > 0 and tonumber(queued) ~= since) then
    return {'DONE', have}
end
call_with('HSET', record, fields)
redis.call('HSET', record, 'begun', string.format('%.0f', now))
write_tokens(opens, texts, {}, {})
leave_life(life)
tell(events)
call_with('HSET', items, pages)
for _, member in ipairs(listens) do
    redis.call('ZADD', listening, 0, member)
end
if ended == 0 and look > 0 then
    redis.call('ZADD', watch, look, id .. ' ')
else
    redis.call('ZREM', watch, id .. ' ')
end
move_index(have, status, name, totals)
if ended == 1 then
    expire(keep)
    say_ended()
end
return {'BEGUN'}
