-- keep_report.lua: keep what somebody says of a task that nobody waits for yet.
--
-- KEYS  record   HASH  its `status` must be running or paused
-- KEYS  steps    HASH  path -> state
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- ARGV  id       str   the execution
-- ARGV  path     str   where the task will stand
-- ARGV  field    str   of the record, for the report
-- ARGV  report   str   JSON of the report
-- ARGV  event    str   text of the event
--
-- USES  hear tell
--
-- Reply  {'KEPT'} | {'TAKEN', report}  another report was first
--        {'ARRIVED'}  the token is there: report to it
--        {'ENDED', status} | {'MISSING'}

local status = redis.call('HGET', record, 'status')
if not status then
    return {'MISSING'}
end
if status ~= 'running' and status ~= 'paused' then
    return {'ENDED', status}
end
local text = redis.call('HGET', steps, path)
if text and cjson.decode(text)[1] ~= 'retrying' then
    return {'ARRIVED'}
end
if redis.call('HSETNX', record, field, report) == 0 then
    return {'TAKEN', redis.call('HGET', record, field)}
end
tell({event})
return {'KEPT'}
