-- end_execution.lua: end an execution from outside: cancelled, or out of time.
--
-- KEYS  record   HASH  its `status` must not be an ended one
-- KEYS  steps    HASH  path -> state; live ones become cancelled
-- KEYS  items    HASH  items of maps
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET `subscription execution path` of those that wait for an event
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  totals   HASH  of its partition: executions that began, and what became of them
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  status   str   cancelled | failed
-- ARGV  error    str   JSON of the reason
-- ARGV  name     str   its head in the index
-- ARGV  event    str   text of the event
-- ARGV  keep     int   ms for which an ended execution is kept; 0: until it is archived
-- ARGV  grace    int   ms after which a notice is looked at
-- ARGV  notices  list  flat id, JSON, … of what is to be told outside
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear
-- USES  tell call_with leave_notices stop_listening withdraw cancel_tokens index expire
-- USES  say_ended leave_life
--
-- Reply  {'ENDED', parent, calls, gates, queued}  parent: who called it, or ''; calls: `path
--        attempt` of the tokens that waited for a child; gates: whose slots it had, JSON, or
--        nil, and since when it asked for them
--        {'DONE', status} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    redis.call('ZREM', watch, id .. ' ')
    return {'MISSING'}
end
if have == 'completed' or have == 'failed' or have == 'cancelled' then
    redis.call('ZREM', watch, id .. ' ')
    return {'DONE', have}
end
-- The record first: out of memory, Redis refuses this command before anything is changed. It
-- never refuses ZREM, which done first would have forgotten the deadline of a live execution.
redis.call('HSET', record, 'status', status, 'ended', string.format('%.0f', now), 'error', error)
cancel_tokens(nil)
leave_notices(notices)
leave_life(life)
tell({event})
redis.call('ZREM', watch, id .. ' ')
move_index(have, status, name, totals)
expire(keep)
say_ended()
local rest = redis.call('HMGET', record, 'parent', 'gates', 'queued')
return {'ENDED', rest[1] or '', calls, rest[2], rest[3]}
