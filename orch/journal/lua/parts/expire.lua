-- expire.lua: an execution that has ended is kept for `ms`; 0: until it is archived. Its steps
-- take the form in which Redis keeps small hashes, half the size: Redis leaves it for ever at
-- the first text above 64 bytes, which the state of a running step is.
-- Needs record, steps, history, items and logs of the script.
local function shorten()
    if redis.call('OBJECT', 'ENCODING', steps) ~= 'hashtable' or redis.call('HLEN', steps) > 100 then
        return
    end
    local all = redis.call('HGETALL', steps)
    for i = 1, #all do
        if #all[i] > 64 then
            return
        end
    end
    redis.call('DEL', steps)
    redis.call('HSET', steps, unpack(all))
end
local function expire(ms)
    shorten()
    for _, key in ipairs(ms > 0 and {record, steps, history, items, logs} or {}) do
        redis.call('PEXPIRE', key, ms)
    end
end
