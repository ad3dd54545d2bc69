-- settle_last.lua: commit the end of a step with which its execution is completed, where nothing
-- stands in the way: as settle_on.lua, the commonest of what settle.lua does.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state; `=path` -> output
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  totals   HASH  of its partition: executions that began, and what became of them
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided
-- ARGV  path     str   the token that is left
-- ARGV  before   str   its state, as the worker that holds it knows it
-- ARGV  state    str   its new state
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  output   str   of the execution, JSON
-- ARGV  events   list  texts of events
-- ARGV  keep     int   ms for which an ended execution is kept; 0: until it is archived
--
-- USES  hear tell index expire say_ended
--
-- Reply  {'SETTLED', parent}  who called it, or ''
--        {'OTHERWISE'}  nothing was done: settle.lua says what is the matter

local have = redis.call('HMGET', record, 'status', 'plan', 'gates', 'parent')
if have[1] ~= 'running' or have[2] ~= plan or have[3]
    or redis.call('HGET', steps, path) ~= before then
    return {'OTHERWISE'}
end
redis.call('HSET', steps, path, state, unpack(texts))
redis.call('HSET', record, 'status', 'completed', 'ended', string.format('%.0f', now),
    'output', output, unpack(fields))
redis.call('ZREM', watch, id .. ' ' .. path, id .. ' ')
tell(events)
move_index('running', 'completed', '', totals)
expire(keep)
say_ended()
return {'SETTLED', have[4] or ''}
