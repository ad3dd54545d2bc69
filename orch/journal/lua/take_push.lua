-- take_push.lua: one process sends a task to its agent; for a time nobody else does.
--
-- KEYS  push   STRING  JSON: until when somebody sends it or it waits, ms; how often it was sent;
--                      whether the agent has it
-- ARGV  now    int     the caller's clock, ms
-- ARGV  over   int     until when the caller sends it, ms
-- ARGV  keep   int     ms for which this is known
--
-- Reply  {'TAKEN', tries} | {'HELD'} | {'ACCEPTED'}

local found = cjson.decode(redis.call('GET', push) or '{}')
if found.accepted then
    return {'ACCEPTED'}
end
if (found['until'] or 0) > now then
    return {'HELD'}
end
local tries = (found.tries or 0) + 1
local text = cjson.encode({['until'] = over, tries = tries})
redis.call('SET', push, text, 'PX', keep)
return {'TAKEN', tries}
