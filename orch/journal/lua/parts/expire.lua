-- expire.lua: an execution that has ended is kept for `ms`; 0: until it is archived.
-- Needs record, steps, history and items of the script.
local function expire(ms)
    for _, key in ipairs(ms > 0 and {record, steps, history, items} or {}) do
        redis.call('PEXPIRE', key, ms)
    end
end
