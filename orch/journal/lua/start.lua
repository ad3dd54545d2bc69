-- start.lua: create an execution with its first tokens, once.
--
-- KEYS  record   HASH  must not exist; it is the proof that the execution was started
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  execution -> started, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  opens    list  {path, state, due | 0} of each step that is written
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  events   list  texts of events
-- ARGV  ended    int   ms for which to keep it if it has ended already, else 0
-- ARGV  deadline int   when the execution must have ended, ms, or 0
--
-- Reply  {'STARTED'} | {'EXISTS'}

if redis.call('EXISTS', record) == 1 then
    return {'EXISTS'}
end
redis.call('HSET', record, unpack(fields))
for _, open in ipairs(opens) do
    redis.call('HSET', steps, open[1], open[2])
    if open[3] > 0 then
        redis.call('ZADD', watch, open[3], id .. ' ' .. open[1])
    end
end
for i = 1, #texts, 2 do
    redis.call('HSET', steps, texts[i], texts[i + 1])
end
for _, event in ipairs(events) do
    redis.call('RPUSH', history, event)
end
redis.call('ZADD', index, now, id)
if ended > 0 then
    redis.call('PEXPIRE', record, ended)
    redis.call('PEXPIRE', steps, ended)
    redis.call('PEXPIRE', history, ended)
elseif deadline > 0 then
    redis.call('ZADD', watch, deadline, id .. ' ')
end
return {'STARTED'}
