-- restore.lua: bring an ended execution back from a file, to be read.
--
-- KEYS  record   HASH  must not exist
-- KEYS  steps    HASH  path -> state; `=path` -> output; `!path` -> failure
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  history  LIST  events
-- KEYS  index    ZSET  `head started execution`: how it is found
-- ARGV  fields   list  flat name, value, … of the record
-- ARGV  states   list  flat name, value, … of the steps' hash
-- ARGV  pages    list  flat name, value, … of `items`
-- ARGV  events   list  texts of events
-- ARGV  lines    list  texts of logged lines
-- ARGV  members  list  flat score, member, … of `index`
-- ARGV  keep     int   ms for which it is kept
--
-- USES  call_with expire
--
-- Reply  {'RESTORED'} | {'EXISTS'}

if redis.call('EXISTS', record) == 1 then
    return {'EXISTS'}
end
call_with('HSET', record, fields)
call_with('HSET', steps, states)
call_with('HSET', items, pages)
call_with('RPUSH', history, events)
call_with('ZADD', index, members)
for _, line in ipairs(lines) do
    redis.call('XADD', logs, '*', 'l', line)
end
expire(keep)
return {'RESTORED'}
