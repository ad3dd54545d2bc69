-- find.lua: the newest executions under some heads of the index of a partition.
--
-- KEYS  index    ZSET  `head started execution`, all of score 0, so in the order of their bytes
-- ARGV  heads    list  heads, each with the blank behind it
-- ARGV  above    list  beginnings of more heads
-- ARGV  endings  list  statuses with one of which these must end; {}: any
-- ARGV  since    str   13 digits: started then or later, ms
-- ARGV  below    str   `started execution` of which all that is found is older
-- ARGV  most     int   so many under each head; 0: only how many there are
--
-- Reply  {member, …} | {count}
-- USES  heads_above

local wanted = {}
for _, ending in ipairs(endings) do
    wanted[ending] = true
end
for _, beginning in ipairs(above) do
    for _, head in ipairs(heads_above(beginning, endings[1] and wanted)) do
        heads[#heads + 1] = head
    end
end
local reply, count = {}, 0
for _, head in ipairs(heads) do
    local from, last = '[' .. head .. since, '(' .. head .. below
    if most == 0 then
        count = count + redis.call('ZLEXCOUNT', index, from, last)
    else
        local found = redis.call('ZRANGE', index, last, from, 'BYLEX', 'REV', 'LIMIT', 0, most)
        for _, member in ipairs(found) do
            reply[#reply + 1] = member
        end
    end
end
return most == 0 and {count} or reply
