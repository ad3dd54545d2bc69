-- expire.lua: an execution that has ended is kept for `ms`.
-- Needs record, steps, history and items of the script.
local function expire(ms)
    for _, key in ipairs({record, steps, history, items}) do
        redis.call('PEXPIRE', key, ms)
    end
end
