-- settle_branches.lua: commit the ends of several branches of one parallel step, each fenced by
-- itself, and claim the first steps of others for the same worker.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state; `=path` -> output; `=scope` -> how a branch ended
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET those that wait for an event or a report
-- KEYS  marks    HASH  queue -> latest dispatch instant of a claimed token, ms
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided
-- ARGV  join     str   the path of the parallel step
-- ARGV  owner    str   who holds the attempts that end
-- ARGV  ends     list  {path, attempt, state, scope, output of the branch, texts, events} of each;
--                      texts: flat name, value, … of the steps' hash
-- ARGV  takes    list  {path, state, event} of each that is to be claimed, at its first attempt
-- ARGV  due      int   when to look at these, ms
-- ARGV  reads    list  fields of the record that they need
-- ARGV  pages    list  fields of `items` that they need
-- ARGV  queue    str   the queue that their message came from
-- ARGV  grace    int   ms after which a joined step is looked at
--
-- USES  call_with hear tell stop_listening withdraw cancel_tokens decide_join add_view read_view
-- USES  pause_over
--
-- Reply  {'SETTLED', refused, taken, left, value, …}  refused: numbers of `ends` that do not
--        count any more, from 1; taken: numbers of `takes`; left: those that were tried before, and
--        are claimed by a message of their own; values as a claim gives them, if any was taken
--        {'JOINED', refused, calls}  the branches are decided: go on behind them; calls: `path
--        attempt` of the cancelled tokens that waited for a child
--        {'ALONE'}  nothing was done: settle each by itself

local status, current, pauses = unpack(redis.call('HMGET', record, 'status', 'plan', 'pauses'))
local counted = redis.call('HGET', steps, join)
if status ~= 'running' or current ~= plan or pauses or not counted then
    return {'ALONE'}
end
local state = cjson.decode(counted)
if state[1] ~= 'joining' or (state[15] or 0) > 0 or (state[14] or 0) > 0 then
    return {'ALONE'}
end

local refused, written, gone, events = {}, {}, {}, {}
local decided = false
local function count(number, text)
    local path, attempt, after, scope, output, texts, told = unpack(ends[number])
    local have = text and cjson.decode(text)
    if decided or not have or have[1] ~= 'running' or have[2] ~= attempt or have[6] ~= owner then
        if text ~= after then
            refused[#refused + 1] = number
        end
        return
    end
    written[#written + 1] = path
    written[#written + 1] = after
    written[#written + 1] = '=' .. scope
    written[#written + 1] = output
    for _, part in ipairs(texts) do
        written[#written + 1] = part
    end
    for _, event in ipairs(told) do
        events[#events + 1] = event
    end
    gone[#gone + 1] = id .. ' ' .. path
    state[9] = state[9] - 1
    decided = decide_join(state)
end
if ends[1] then
    local paths = {}
    for i, each in ipairs(ends) do
        paths[i] = each[1]
    end
    for i, text in ipairs(redis.call('HMGET', steps, unpack(paths))) do
        count(i, text)
    end
end

local taken, left, watched, latest = {}, {}, {}, 0
if takes[1] and not decided then
    local paths = {}
    for i, each in ipairs(takes) do
        paths[i] = each[1]
    end
    for i, text in ipairs(redis.call('HMGET', steps, unpack(paths))) do
        local have = text and cjson.decode(text)
        local fresh = have and have[1] == 'dispatched'
        if text == takes[i][2] then
            taken[#taken + 1] = i -- the reply to the first call was lost on the way
        elseif fresh and have[2] > 1 then
            left[#left + 1] = i
        elseif fresh then
            taken[#taken + 1] = i
            written[#written + 1] = paths[i]
            written[#written + 1] = takes[i][2]
            watched[#watched + 1] = due
            watched[#watched + 1] = id .. ' ' .. paths[i]
            events[#events + 1] = takes[i][3]
            latest = math.max(latest, have[5])
        end
    end
    if latest > 0 then
        redis.call('HSET', marks, queue, string.format('%.0f', latest))
    end
end
if gone[1] then
    if decided then
        state[1], state[5] = 'joined', now
        watched[#watched + 1] = now + grace
        watched[#watched + 1] = id .. ' ' .. join
    end
    written[#written + 1] = join
    written[#written + 1] = cjson.encode(state)
    call_with('ZREM', watch, gone)
end
call_with('HSET', steps, written)
call_with('ZADD', watch, watched)
tell(events)
if decided then
    if state[9] > 0 then
        cancel_tokens(join)
    end
    return {'JOINED', refused, calls}
end
local reply = {'SETTLED', refused}
if taken[1] then
    read_view(reply, reads, pages)
end
table.insert(reply, 3, taken)
table.insert(reply, 4, left)
return reply
