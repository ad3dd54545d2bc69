-- use.lua: note what an attempt has used so far. Said again, or with more, it counts once.
--
-- KEYS  record   HASH  `used`: the sum; `field`: {attempt: usage, told} of a step; older
--                      attempts of a step that had many are one, `0`
-- KEYS  spent    HASH  project -> usage: of a day, of the executions of a partition
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- ARGV  id       str   the execution
-- ARGV  field    str   of the record, for the step
-- ARGV  attempt  str   names the attempt; later ones sort behind it
-- ARGV  usage    list  {input tokens, output tokens, cost, calls, model}
-- ARGV  project  str   whose it is, where the execution does not say; '' if it counts for none
-- ARGV  name     str   the attribute of an execution that says
-- ARGV  event    str   text of the event if the attempt has ended, or ''
-- ARGV  keep     int   ms for which `spent` is kept
--
-- USES  hear tell
--
-- Reply  {'USED', all of the step, `used`}  JSON
--        {'MISSING'}  the execution is not there any more

local have = redis.call('HMGET', record, 'status', field, 'used', 'attributes')
if not have[1] then
    return {'MISSING'}
end
local known = have[2] and cjson.decode(have[2]) or {}
local before = known[attempt] or {0, 0, 0, 0, ''}
local function add(to, from, sign)
    for i = 1, 4 do
        to[i] = to[i] + sign * from[i]
    end
    if from[5] ~= '' then
        to[5] = from[5]
    end
    return to
end
local more = add(add({0, 0, 0, 0, ''}, usage, 1), before, -1)
more[5] = usage[5]
usage[6] = (before[6] == 1 or event ~= '') and 1 or 0
known[attempt] = usage
local attempts = {}
for each in pairs(known) do
    attempts[#attempts + 1] = each
end
if #attempts > 20 then
    table.sort(attempts)
    local oldest = attempts[1] == '0' and attempts[2] or attempts[1]
    known['0'] = add(known['0'] or {0, 0, 0, 0, '', 1}, known[oldest], 1)
    known[oldest] = nil
end
local own = cjson.encode(known)
local all = cjson.encode(add(have[3] and cjson.decode(have[3]) or {0, 0, 0, 0, ''}, more, 1))
redis.call('HSET', record, field, own, 'used', all)
if project ~= '' then
    local given = have[4] and cjson.decode(have[4])[name]
    if given and given ~= cjson.null then
        project = tostring(given)
    end
    local day = redis.call('HGET', spent, project)
    local sum = add(day and cjson.decode(day) or {0, 0, 0, 0, ''}, more, 1)
    redis.call('HSET', spent, project, cjson.encode(sum))
    redis.call('PEXPIRE', spent, keep)
end
if event ~= '' and before[6] ~= 1 then
    tell({event})
end
return {'USED', own, all}
