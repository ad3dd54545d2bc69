-- settle_item.lua: commit that an item of a map went well at once, and claim the next one for the
-- same worker, where nothing stands in the way: the commonest of what settle.lua does for items.
--
-- KEYS  record   HASH  its `status` decides whether an outcome still counts
-- KEYS  steps    HASH  path -> state
-- KEYS  items    HASH  items of maps, in pages; `=scope` -> how an item ended
-- KEYS  watch    ZSET  `execution path` -> when to look, ms
-- ARGV  now      int   the caller's clock, ms
-- ARGV  id       str   the execution
-- ARGV  plan     str   the plan by which it was decided
-- ARGV  path     str   the token that is left
-- ARGV  before   str   its state, as the worker that holds it knows it
-- ARGV  join     str   the path of the map
-- ARGV  scope    str   that of the item
-- ARGV  output   str   JSON of what it came to
-- ARGV  entry    str   the step that an item begins with
-- ARGV  state    str   its state when it is claimed
-- ARGV  due      int   when to look at that, ms
-- ARGV  reads    list  fields of the record that it needs
-- ARGV  pages    list  fields of `items` that it needs
-- ARGV  page     int   items in a page, whose page is given, too; 0: it does not read its item
-- ARGV  grace    int   ms after which a joined step is looked at
--
-- USES  add_view read_view
--
-- Reply  {'SETTLED', number, value, …}  the item that was claimed, and values as a claim gives
--        them; -1: none was left
--        {'JOINED'}  all items have ended: go on behind the map
--        {'OTHERWISE'}  nothing was done: settle.lua says what is the matter

local status, current, pauses = unpack(redis.call('HMGET', record, 'status', 'plan', 'pauses'))
local text, counted = unpack(redis.call('HMGET', steps, path, join))
if status ~= 'running' or current ~= plan or pauses or text ~= before or not counted then
    return {'OTHERWISE'}
end
local map = cjson.decode(counted)
if map[1] ~= 'joining' or (map[11] or 0) > 0 or (map[15] or 0) > 0 then
    return {'OTHERWISE'}
end
redis.call('HSET', items, '=' .. scope, output)
redis.call('HDEL', steps, path)
redis.call('ZREM', watch, id .. ' ' .. path)
map[9] = map[9] - 1
if map[9] == 0 then
    map[1], map[5] = 'joined', now
    redis.call('HSET', steps, join, cjson.encode(map))
    redis.call('ZADD', watch, now + grace, id .. ' ' .. join)
    return {'JOINED'}
end
local number = map[14]
if number >= map[8] then
    redis.call('HSET', steps, join, cjson.encode(map))
    return {'SETTLED', -1}
end
map[14] = number + 1
local following = join .. '[' .. number .. ']/' .. entry
redis.call('HSET', steps, join, cjson.encode(map), following, state)
redis.call('ZADD', watch, due, id .. ' ' .. following)
if page > 0 then
    pages[#pages + 1] = join .. '/' .. math.floor(number / page)
end
local reply = {'SETTLED', number}
read_view(reply, reads, pages)
return reply
