-- resume_branch.lua: a paused branch goes on; other pauses, of the whole too, stay as they are.
--
-- KEYS  record   HASH  its `status` must be running or paused; `pauses`: JSON {branch: since}
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  branch   str   what was paused
-- ARGV  grace    int   ms after which a dispatched token is looked at
-- ARGV  fields   list  flat name, value, … of the record: variables that are set
-- ARGV  event    str   text of the event
--
-- USES  hear tell call_with pause_over wake_tokens
--
-- Reply  {'RESUMED', path, …}  the tokens that need a message
--        {'DONE', status}  the branch itself is not paused, or the execution has ended
--        {'MISSING'}

local have = redis.call('HMGET', record, 'status', 'pauses', 'paused')
if not have[1] then
    return {'MISSING'}
end
local before = have[2] and cjson.decode(have[2]) or {}
if (have[1] ~= 'running' and have[1] ~= 'paused') or not before[branch] then
    return {'DONE', have[1]}
end
local after = cjson.decode(have[2])
after[branch] = nil
if next(after) then
    redis.call('HSET', record, 'pauses', cjson.encode(after))
else
    redis.call('HDEL', record, 'pauses')
end
call_with('HSET', record, fields)
local whole = have[1] == 'paused' and tonumber(have[3] or now) or nil
local function rests_by(pauses)
    return function(path)
        local since = pause_over(pauses, path)
        return since and whole and math.min(since, whole) or since or whole
    end
end
local reply = wake_tokens(rests_by(before), rests_by(after))
table.insert(reply, 1, 'RESUMED')
tell({event})
return reply
