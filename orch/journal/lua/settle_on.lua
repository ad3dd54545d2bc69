-- settle_on.lua: commit the end of a step that the flow goes on behind, where nothing stands in the
-- way: the commonest of what settle.lua does, without all that the others need.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided
-- ARGV  path     str   the token that is left
-- ARGV  before   str   its state, as the worker that holds it knows it
-- ARGV  owner    str   who holds it
-- ARGV  state    str   its new state
-- ARGV  opens    list  {path, state, due | 0} of each step that is written; that which the worker
--                      goes on with is as good as claimed
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  events   list  texts of events
-- ARGV  reads    list  fields of the record that the step needs with which the worker goes on
-- ARGV  pages    list  fields of `items` that it needs
--
-- USES  tell call_with write_tokens add_view read_view
--
-- Reply  {'SETTLED', '', value, …}  values as a claim gives them
--        {'OTHERWISE'}  nothing was done: settle.lua says what is the matter

local status, current, pauses = unpack(redis.call('HMGET', record, 'status', 'plan', 'pauses'))
local text = redis.call('HGET', steps, path)
if status ~= 'running' or current ~= plan or pauses or text ~= before then
    return {'OTHERWISE'}
end
redis.call('ZREM', watch, id .. ' ' .. path)
write_tokens(opens, texts, {path, state}, {})
call_with('HSET', record, fields)
tell(events, owner)
local reply = {'SETTLED', ''}
read_view(reply, reads, pages)
return reply
