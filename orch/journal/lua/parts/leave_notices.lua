-- leave_notices.lua: leave in the outbox what is to be told outside; the watch brings it back until
-- it is delivered. `notices`: flat id, JSON, ….
-- Needs call_with, and outbox, watch, now and grace of the script.
local function leave_notices(notices)
    call_with('HSET', outbox, notices)
    for i = 1, #notices, 2 do
        redis.call('ZADD', watch, now + grace, 'notice:' .. notices[i] .. ' ')
    end
end
