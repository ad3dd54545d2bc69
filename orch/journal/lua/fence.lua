-- fence.lua: steps that run past the time that they had to end count no more.
--
-- KEYS  record   HASH  its `status` must be cancelling or compensating
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  paths    list  of steps that ran when the caller looked
--
-- USES  hear tell unwinds
--
-- Reply  {'FENCED', count} | {'DONE', status} | {'MISSING'}

local have = redis.call('HGET', record, 'status')
if not have then
    return {'MISSING'}
end
if not unwinds_in[have] then
    return {'DONE', have}
end
local count = 0
for _, path in ipairs(paths) do
    local state = cjson.decode(redis.call('HGET', steps, path))
    if state[1] == 'running' then
        state[1] = 'cancelled'
        state[5] = now
        state[6] = ''
        redis.call('HSET', steps, path, cjson.encode(state))
        redis.call('HDEL', record, 'b:' .. path)
        redis.call('ZREM', watch, id .. ' ' .. path)
        local detail = {reason = 'it did not end in time'}
        tell({cjson.encode({now, 'cancelled', path, state[2], detail})})
        count = count + 1
    end
end
return {'FENCED', count}
