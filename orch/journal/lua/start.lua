-- start.lua: create an execution with its first tokens, once.
--
-- KEYS  record   HASH  must not exist; it is the proof that the execution was started
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
-- KEYS  choices  STRING another one whenever the version that starts get has changed
-- ARGV  word     str   what it was when the caller read which version that is; '-': just now
-- ARGV  id       str   the execution
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  opens    list  {path, state, due | 0} of each step that is written
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  events   list  texts of events
-- ARGV  pages    list  flat name, value, … of `items`
-- ARGV  listens  list  members of `listening`
-- ARGV  members  list  flat score, member, … of `index`
-- ARGV  counts   list  flat field, amount, … of `totals`
-- ARGV  ended    int   1: it has ended already
-- ARGV  keep     int   ms for which an ended execution is kept; 0: until it is archived
-- ARGV  look     int   when to look at the execution as a whole, ms, or 0: its deadline, or
--                      whether its parent still waits for it
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell call_with write_tokens expire leave_life
--
-- Reply  {'STARTED'} | {'EXISTS'} | {'CHANGED'}  read again which version it is

if redis.call('EXISTS', record) == 1 then
    return {'EXISTS'}
end
if word ~= '-' and (redis.call('GET', choices) or '') ~= word then
    return {'CHANGED'}
end
call_with('HSET', record, fields)
write_tokens(opens, texts, {}, {})
leave_life(life)
tell(events)
call_with('HSET', items, pages)
call_with('ZADD', index, members)
for at = 1, #counts, 2 do
    redis.call('HINCRBY', totals, counts[at], counts[at + 1])
end
for _, member in ipairs(listens) do
    redis.call('ZADD', listening, 0, member)
end
if ended == 1 then
    expire(keep)
elseif look > 0 then
    redis.call('ZADD', watch, look, id .. ' ')
end
return {'STARTED'}
