-- forget.lua: an ended execution leaves the journal: it is in the archive.
--
-- KEYS  record   HASH  its `status` and `ended` must be those that were archived
-- KEYS  steps    HASH  path -> state
-- KEYS  items    HASH  items of maps, in pages
-- KEYS  history  LIST  events
-- KEYS  logs     STREAM lines that its steps logged
-- KEYS  mailbox  LIST  events that were sent to it
-- KEYS  index    ZSET  `head started execution`: how it is found
-- ARGV  status   str   as it was archived
-- ARGV  ended    str   as it was archived
-- ARGV  members  list  of `index`
--
-- Reply  {'FORGOTTEN'} | {'CHANGED'}  it was retried, or is gone

local have = redis.call('HMGET', record, 'status', 'ended')
if have[1] ~= status or have[2] ~= ended then
    return {'CHANGED'}
end
redis.call('DEL', record, steps, items, history, logs, mailbox)
for _, member in ipairs(members) do
    redis.call('ZREM', index, member)
end
return {'FORGOTTEN'}
