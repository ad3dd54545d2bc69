-- pause_branch.lua: nothing in a branch of an execution starts any more; what runs may end.
--
-- KEYS  record   HASH  its `status` must be running or paused; `pauses`: JSON {branch: since}
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  branch   str   a branch, an iteration, an item, or a step that holds such
-- ARGV  event    str   text of the event
--
-- USES  hear tell
--
-- Reply  {'PAUSED'} | {'DONE', status} | {'MISSING'}
--        {'ABSENT', status}  no live token is below `branch`

local have = redis.call('HMGET', record, 'status', 'pauses')
if not have[1] then
    return {'MISSING'}
end
if have[1] ~= 'running' and have[1] ~= 'paused' then
    return {'DONE', have[1]}
end
local ended = {completed = 1, failed = 1, skipped = 1, cancelled = 1}
local function lives()
    for _, name in ipairs(redis.call('HKEYS', steps)) do
        local behind = string.sub(name, #branch + 1, #branch + 1)
        -- What is done in a rung for a step makes no branch of the step.
        if string.sub(name, #branch + 1, #branch + 2) ~= '/~'
            and string.sub(name, 1, #branch) == branch and (behind == '/' or behind == '[')
            and not ended[cjson.decode(redis.call('HGET', steps, name))[1]] then
            return true
        end
    end
end
if not lives() then
    return {'ABSENT', have[1]}
end
local pauses = have[2] and cjson.decode(have[2]) or {}
if pauses[branch] then
    return {'DONE', have[1]}
end
pauses[branch] = now
redis.call('HSET', record, 'pauses', cjson.encode(pauses))
tell({event})
return {'PAUSED'}
