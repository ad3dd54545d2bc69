-- cancel.lua: an execution is cancelled, or fails as a whole: nothing starts any more, what runs
-- may end in time.
--
-- KEYS  record   HASH  its `status` must not be an ended one, nor one that unwinds
-- KEYS  steps    HASH  path -> state; live ones become cancelled, but for those that run or call
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
-- ARGV  becomes  str   cancelling | compensating
-- ARGV  asked    str   JSON of who asked, why, and until when steps may end
-- ARGV  look     int   when to look at the execution as a whole, ms
-- ARGV  undoes   int   1: a step of it may have to be compensated
-- ARGV  error    str   JSON of the error with which it will end
-- ARGV  name     str   its head in the index
-- ARGV  begun    str   text of the event if it goes on
-- ARGV  ended    str   text of the event if it ends at once
-- ARGV  keep     int   ms for which an ended execution is kept
-- ARGV  grace    int   ms after which a notice is looked at
-- ARGV  notices  list  flat id, JSON, … of what is to be told outside
-- ARGV  life     list  flat id, JSON, ms of the notices that it has ended, if it does at once
--
-- USES  hear
-- USES  tell call_with leave_notices stop_listening withdraw cancel_tokens index expire
-- USES  say_ended unwinds
-- USES  leave_life
--
-- Reply  {'ENDED', parent, {}, gates, queued}  nothing ran, and there is nothing to compensate;
--        gates, queued: as of end_execution.lua
--        {'UNWINDS', '', calls}  calls: `path attempt` of those that wait for a child
--        {'DONE', status} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    return {'MISSING'}
end
local ended_in = {completed = 1, failed = 1, cancelled = 1}
if ended_in[have] or unwinds_in[have] then
    return {'DONE', have}
end
-- The record first: out of memory, Redis refuses this command before anything is changed.
redis.call('HSET', record, 'status', becomes, 'cancel', asked)
if becomes == 'compensating' then
    redis.call('HSET', record, 'failing', error)
end
redis.call('HDEL', record, 'paused', 'remains', 'pauses')
cancel_tokens(nil, {running = 1, calling = 1})
leave_notices(notices)
if spared == 0 and undoes == 0 then
    redis.call('HSET', record, 'status', 'cancelled', 'error', error,
        'ended', string.format('%.0f', now))
    leave_life(life)
    tell({ended})
    redis.call('ZREM', watch, id .. ' ')
    move_index(have, 'cancelled', name, totals)
    expire(keep)
    say_ended()
    local rest = redis.call('HMGET', record, 'parent', 'gates', 'queued')
    return {'ENDED', rest[1] or '', calls, rest[2], rest[3]}
end
tell({begun})
move_index(have, becomes, '')
redis.call('ZADD', watch, look, id .. ' ')
return {'UNWINDS', '', calls}
