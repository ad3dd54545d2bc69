-- set_budget.lua: people change what an execution, or a step of it, may use.
--
-- KEYS  record   HASH  `budgets`: JSON {path | '': {cost, tokens}}
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- ARGV  id       str   the execution
-- ARGV  path     str   of the step; '' for the whole
-- ARGV  given    str   JSON {cost, tokens}
-- ARGV  event    str   text of the event
--
-- USES  hear tell
--
-- Reply  {'SET'} | {'MISSING'}

local have = redis.call('HMGET', record, 'status', 'budgets')
if not have[1] then
    return {'MISSING'}
end
local found = have[2] and cjson.decode(have[2]) or {}
found[path] = found[path] or {}
for name, value in pairs(cjson.decode(given)) do
    found[path][name] = value
end
redis.call('HSET', record, 'budgets', cjson.encode(found))
tell({event})
return {'SET'}
