-- note_change.lua: keep what became of a breaker for those who look, the latest first.
-- Needs changes, now and keep of the script.
local function note_change(word, by, why)
    redis.call('LPUSH', changes, cjson.encode({now, word, by, why}))
    redis.call('LTRIM', changes, 0, 49)
    redis.call('PEXPIRE', changes, keep)
end
