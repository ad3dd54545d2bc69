-- migrate.lua: an execution goes on by another plan, with its tokens as they are.
--
-- KEYS  record   HASH  its `status` and `plan` must be those that the caller saw
-- KEYS  steps    HASH  path -> state; `?path` -> subscription
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET `subscription execution path` of those that wait for an event
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  status   str   the status that it must have
-- ARGV  before   str   the plan that it must have
-- ARGV  plan     str   the plan by which it goes on
-- ARGV  version  str   the version of that plan
-- ARGV  seen     list  flat path, state, … of all tokens that live: a step that has come to life
--                      meanwhile did so by one of these, whose state is another one now
-- ARGV  moves    list  flat path, new path, … of tokens at rest
-- ARGV  looks    list  paths of which other limits hold now
-- ARGV  event    str   text of the event
-- ARGV  heads    list  the entry of `index` by its version, and the new one
-- ARGV  life     list  flat id, JSON, ms of the notices that tell of it
--
-- USES  hear tell stop_listening leave_life
--
-- Reply  {'MIGRATED'} | {'DONE'}  it has this plan
--        {'SUPERSEDED'}  it is not what the caller saw any more
--        {'MISSING'}

local have = redis.call('HMGET', record, 'status', 'plan')
if not have[1] then
    return {'MISSING'}
end
if have[2] == plan then
    return {'DONE'}
end
if have[1] ~= status or have[2] ~= before then
    return {'SUPERSEDED'}
end
for i = 1, #seen, 2 do
    if redis.call('HGET', steps, seen[i]) ~= seen[i + 1] then
        return {'SUPERSEDED'}
    end
end
for i = 1, #moves, 2 do
    local old, new = moves[i], moves[i + 1]
    redis.call('HSET', steps, new, redis.call('HGET', steps, old))
    redis.call('HDEL', steps, old)
    local due = redis.call('ZSCORE', watch, id .. ' ' .. old)
    if due then
        redis.call('ZREM', watch, id .. ' ' .. old)
        redis.call('ZADD', watch, due, id .. ' ' .. new)
    end
    local what = redis.call('HGET', steps, '?' .. old)
    if what then
        stop_listening(old)
        redis.call('HSET', steps, '?' .. new, what)
        redis.call('ZADD', listening, 0, what .. ' ' .. id .. ' ' .. new)
    end
    -- What the last check of a poll gave, its last heartbeat, a report that came before it.
    for _, mark in ipairs({'p:', 'b:', 'r:', 'm:'}) do
        local kept = redis.call('HGET', record, mark .. old)
        if kept then
            redis.call('HSET', record, mark .. new, kept)
            redis.call('HDEL', record, mark .. old)
        end
    end
end
for _, path in ipairs(looks) do
    redis.call('ZADD', watch, 'XX', now, id .. ' ' .. path)
end
redis.call('HSET', record, 'plan', plan, 'version', version)
redis.call('ZREM', index, heads[1])
redis.call('ZADD', index, 0, heads[2])
leave_life(life)
tell({event})
return {'MIGRATED'}
