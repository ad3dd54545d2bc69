-- settle.lua: commit what became of a token: its state, what opens, what ends.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages; `=scope`, `!scope` -> how an item ended
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  stream   STREAM the events of a partition, if somebody listens
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- KEYS  listening ZSET `subscription execution path` of those that wait for an event or a
--                      report; the subscription of a path is the field `?path` of its steps' hash
-- KEYS  index    ZSET  `head started execution`: how it is found
-- KEYS  totals   HASH  of its partition: executions that began, and what became of them
-- KEYS  outbox   HASH  id of a notice -> JSON
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided; '' if by none
-- ARGV  path     str   the token that is left
-- ARGV  expect   str   the status that it must have
-- ARGV  attempt  int   the fence: the attempt that it must be at
-- ARGV  owner    str   who must hold it; '' for anyone
-- ARGV  state    str   its new state
-- ARGV  due      int   when to look at it again, ms, or 0 if it is not live
-- ARGV  opens    list  {path, state, due | 0} of each step that is written
-- ARGV  texts    list  flat name, value, … of the steps' hash
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  drops    list  fields of the record that go
-- ARGV  branch   list  {join, scope, ok as 1 | 0, text} or {}; the scope is a branch or an
--                      iteration of the step at `join`. Where others wait for their turn there
--                      follow `[`, of items, or `/`, of branches, and {entry, state, limit | 0}
--                      of those that wait: of items one, of branches each; limit: when a worker
--                      must have taken it, ms
-- ARGV  ballot   str   what the branch is counted for among those that succeed, or ''
-- ARGV  ends     list  {status, output | '', error | '', its head | ''} or {}; compensating: it
--                      lives until what was done is undone, and fails with the error then
-- ARGV  events   list  texts of events
-- ARGV  listens  list  members of `listening`
-- ARGV  notices  list  flat id, JSON, … of what is to be told outside
-- ARGV  guard    list  {path, attempt, owner} of an escalated step that it moves on, or {}
-- ARGV  once     str   a field of the record that must not be there yet, or ''
-- ARGV  below    int   1: the live tokens below `path` are cancelled with it
-- ARGV  pages    list  flat name, value, … of `items`; a value may be {map, first, count}
-- ARGV  clears   list  {map, count, items in a page} of a map that is done, or {}
-- ARGV  quiet    int   1: an item is done at once; its state and its texts are not kept
-- ARGV  late     str   who is named in the history when the answer is SUPERSEDED, or ''
-- ARGV  handoff  list  {owner, plan, due, quiet as 1 | 0, fields of the record, pages of items,
--                      items in a page | 0} of the worker that goes on itself with the next
--                      item; not 0: the page of that item is given, too. {}: nobody does.
--                      With a token that is opened here follow {path, its state if the worker
--                      goes on with it, event | ''}, and what `opens` says of it if it cannot
-- ARGV  grace    int   ms after which a joined step is looked at
-- ARGV  keep     int   ms for which an ended execution is kept; 0: until it is archived
-- ARGV  keeps    list  flat name, value, … of the steps' hash, written where the step was cancelled
--                      with its branch while it ran: what it did may have to be undone; or {}
-- ARGV  keep_event str  text of the event where it completed, or ''
-- ARGV  unwinds  int   1: it counts in an execution that unwinds, and only there
-- ARGV  life     list  flat id, JSON, ms of the notices that the execution has ended
--
-- USES  hear
-- USES  tell call_with leave_notices set_pages write_tokens stop_listening withdraw cancel_tokens
-- USES  clear_items index expire say_ended add_view read_view add_taken pause_over hand_on
-- USES  decide_join
-- USES  reopen end_branch unwinds leave_life is_repeated
--
-- Reply  {'SETTLED', parent, calls, nil, gates, queued} | {'SETTLED', '', calls, path, … }
--        parent: who called an execution that ends with it, or ''; gates: whose slots it had,
--        JSON, or nil, and since when it asked for them
--        path: it is the turn of the item, or the branch, that begins there, or the token that
--        the worker goes on with. If it does there follow its state, and values as a claim
--        gives them. A list instead: what of a member that is tried again needs a message
--        {'JOINED', path, calls}  the branches of `path` have all ended: go on there
--        calls: `path attempt` of the cancelled tokens that waited for a child
--        {'REPEATED'} | {'REPEATED', path}  this very outcome was committed before
--        {'SUPERSEDED', status, attempt}  another attempt took over
--        {'KEPT', status}  it was cancelled with its branch: what it did is noted, and no more
--        {'ENDED', status} | {'MISSING'} | {'TAKEN'}  the field `once` is there
--        {'MOVED'}  the step at `guard` has moved on: read it and decide again
--        {'REPLANNED', plan}  it goes by another plan now: decide again

local status, current, pauses = unpack(redis.call('HMGET', record, 'status', 'plan', 'pauses'))
local text = redis.call('HGET', steps, path)
if not text and quiet == 1 and redis.call('HEXISTS', items, '=' .. branch[2]) == 1 then
    -- Only the holder of the first attempt could have ended the item without a trace.
    return {'REPEATED'}
end
if not status or not text then
    return {'MISSING'}
end
local have = cjson.decode(text)

local function joined_path()
    local found = branch[1] and redis.call('HGET', steps, branch[1])
    if found and cjson.decode(found)[1] == 'joined' then
        return branch[1]
    end
end

-- The reply to the first call was lost on the way, and it is made again.
if is_repeated(text) then
    return {'REPEATED', joined_path()}
end
if have[1] ~= expect or have[2] ~= attempt or (owner ~= '' and have[6] ~= owner) then
    -- A worker came back after its lease, or after its branch was cancelled: say so.
    if keeps[1] and have[1] == 'cancelled' and have[2] == attempt and have[6] == owner
        and lives_in[status] then
        call_with('HSET', steps, keeps)
        if keep_event ~= '' then
            tell({keep_event})
            return {'KEPT', status}
        end
    end
    if late ~= '' then
        local detail = {worker = late, status = have[1], current = have[2]}
        tell({cjson.encode({now, 'refused', path, attempt, detail})})
    end
    return {'SUPERSEDED', have[1], have[2]}
end
local goes_on = unwinds == 0 and (status == 'running' or status == 'paused')
if not goes_on and not (unwinds == 1 and unwinds_in[status]) then
    return {'ENDED', status}
end
if plan ~= '' and plan ~= current then
    return {'REPLANNED', current}
end
if once ~= '' and redis.call('HEXISTS', record, once) == 1 then
    return {'TAKEN'}
end

local held = guard[1] and cjson.decode(redis.call('HGET', steps, guard[1]) or '[]')
if held and (held[1] ~= 'escalated' or held[2] ~= guard[2] or held[6] ~= guard[3]) then
    return {'MOVED'}
end

local written, watched = {}, {}
if quiet == 1 then
    redis.call('HDEL', steps, path)
else
    written = {path, state}
end
if due > 0 then
    watched = {due, id .. ' ' .. path}
else
    redis.call('ZREM', watch, id .. ' ' .. path)
end
if have[1] == 'listening' or have[1] == 'external' or have[1] == 'escalated' then
    stop_listening(path)
end
if guard[1] then
    redis.call('ZREM', watch, id .. ' ' .. guard[1])
    stop_listening(guard[1])
end
leave_notices(notices)
local over = handoff[8]
if over and status == 'running' and not (pauses and pause_over(cjson.decode(pauses), over[1])) then
    opens[#opens + 1] = {over[1], over[2], handoff[3]}
    if over[3] ~= '' then
        events[#events + 1] = over[3]
    end
elseif over then
    opens[#opens + 1], over = handoff[9], nil
end
write_tokens(opens, texts, written, watched)
for _, member in ipairs(listens) do
    redis.call('ZADD', listening, 0, member)
end
call_with('HSET', record, fields)
call_with('HDEL', record, drops)
tell(events, owner)
set_pages(pages)
if clears[1] then
    clear_items(clears)
end
if below == 1 then
    cancel_tokens(path, nil, opens)
end
if branch[1] then
    return end_branch(branch, handoff)
end
if ends[1] == 'compensating' then
    redis.call('HSET', record, 'status', ends[1], 'failing', ends[3])
    redis.call('ZADD', watch, now + grace, id .. ' ')
    move_index(status, ends[1], '')
    return {'SETTLED', '', calls}
end
if ends[1] then
    redis.call('HSET', record, 'status', ends[1], 'ended', string.format('%.0f', now))
    for i, name in ipairs({'output', 'error'}) do
        if ends[i + 1] ~= '' then
            redis.call('HSET', record, name, ends[i + 1])
        end
    end
    redis.call('ZREM', watch, id .. ' ')
    leave_life(life)
    move_index(status, ends[1], ends[4], totals)
    expire(keep)
    say_ended()
end
if not ends[1] then
    local reply = {'SETTLED', '', calls}
    if over then
        add_taken(reply, handoff, over)
    end
    return reply
end
local rest = redis.call('HMGET', record, 'parent', 'gates', 'queued')
return {'SETTLED', rest[1] or '', calls, false, rest[2], rest[3]}
