-- watch_gate.lua: a gate is looked at soon while somebody waits, or was given a slot now and has
-- not begun; else much later; never once it is empty. `put_off`: also later than it would have been.
-- Needs held, waiting, watch, now, gate, soon and later of the script.
local function watch_gate(put_off, granted)
    local pause = later
    if granted or redis.call('ZCARD', waiting) > 0 then
        pause = soon
    elseif redis.call('ZCARD', held) == 0 then
        redis.call('ZREM', watch, gate .. ' ')
        return
    end
    local due = redis.call('ZSCORE', watch, gate .. ' ')
    if put_off or not due or tonumber(due) > now + pause then
        redis.call('ZADD', watch, now + pause, gate .. ' ')
    end
end
