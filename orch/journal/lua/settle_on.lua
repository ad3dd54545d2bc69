-- settle_on.lua: commit the end of a step that the flow goes on behind, where nothing stands in the
-- way: the commonest of what settle.lua does, without all that the others need.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided
-- ARGV  path     str   the token that is left
-- ARGV  before   str   its state, as the worker that holds it knows it
-- ARGV  owner    str   who holds it
-- ARGV  state    str   its new state
-- ARGV  written  list  flat name, value, … of the steps' hash: states and texts
-- ARGV  watched  list  flat instant, path, … of those that are live
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  following str  a step that the worker goes on with, or ''
-- ARGV  taken    str   its state
-- ARGV  events   list  texts of events
-- ARGV  short    str   the last of them as it is stored here, if the caller knows, or ''
-- ARGV  reads    list  fields of the record that the step needs with which the worker goes on
-- ARGV  pages    list  fields of `items` that it needs
--
-- USES  hear tell add_view read_view
--
-- Reply  {'SETTLED', '', value, …}  values as a claim gives them
--        {'OTHERWISE'}  nothing was done: settle.lua says what is the matter

local have = redis.call('HMGET', record, 'status', 'plan', 'pauses')
if have[1] ~= 'running' or have[2] ~= plan or have[3] or #written > 1000 or #fields > 1000 then
    return {'OTHERWISE'}
end
local text = redis.call('HGET', steps, path)
if text == before then
    if following ~= '' then
        written[#written + 1] = following
        written[#written + 1] = taken
    end
    redis.call('HSET', steps, path, state, unpack(written))
    redis.call('ZREM', watch, id .. ' ' .. path)
    for i = 2, #watched, 2 do
        watched[i] = id .. ' ' .. watched[i]
    end
    if watched[1] then
        redis.call('ZADD', watch, unpack(watched))
    end
    if fields[1] then
        redis.call('HSET', record, unpack(fields))
    end
    if short == '' then
        tell(events, owner)
    else
        tell_short(events, short)
    end
elseif text ~= state or following == '' or redis.call('HGET', steps, following) ~= taken then
    return {'OTHERWISE'}  -- else: the reply to the first call was lost on the way
end
local reply = {'SETTLED', ''}
if reads[1] or pages[1] then
    read_view(reply, reads, pages)
end
return reply
