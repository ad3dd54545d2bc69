-- stop_listening.lua: the token at `name` waits for no event any more.
-- Needs steps, listening and id of the script.
local function stop_listening(name)
    local what = redis.call('HGET', steps, '?' .. name)
    if what then
        redis.call('ZREM', listening, what .. ' ' .. id .. ' ' .. name)
        redis.call('HDEL', steps, '?' .. name)
    end
end
