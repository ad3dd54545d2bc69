-- keep_lines.lua: keep lines that an attempt logged. Of an execution the oldest make room.
--
-- KEYS  record   HASH  must be there; `logged` is how many bytes its lines take
-- KEYS  logs     STREAM `l` -> JSON of a line
-- ARGV  lines    list  texts of lines
-- ARGV  each     int   bytes that a line takes beside its text
-- ARGV  most     int   bytes that all lines of the execution may take
--
-- Reply  {'KEPT'} | {'MISSING'}  the execution is not there any more

if redis.call('EXISTS', record) == 0 then
    return {'MISSING'}
end
local added = 0
for _, line in ipairs(lines) do
    redis.call('XADD', logs, '*', 'l', line)
    added = added + #line + each
end
local total = redis.call('HINCRBY', record, 'logged', added)
while total > most do
    local oldest = redis.call('XRANGE', logs, '-', '+', 'COUNT', 100)
    if #oldest == 0 then
        total = 0
    end
    for _, entry in ipairs(oldest) do
        if total <= most then
            break
        end
        redis.call('XDEL', logs, entry[1])
        total = total - #entry[2][2] - each
    end
end
redis.call('HSET', record, 'logged', string.format('%.0f', total))
-- One that has ended expires, and this with it.
local left = redis.call('PTTL', record)
if left > 0 then
    redis.call('PEXPIRE', logs, left)
end
return {'KEPT'}
