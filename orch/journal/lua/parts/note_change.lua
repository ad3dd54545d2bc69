-- note_change.lua: keep what became of a breaker for those who look, the latest first.
-- It is to be remembered, where `name`, the capability, is told.
-- Needs changes, notes, name, now and keep of the script.
local function note_change(word, by, why)
    redis.call('LPUSH', changes, cjson.encode({now, word, by, why}))
    redis.call('LTRIM', changes, 0, 49)
    redis.call('PEXPIRE', changes, keep)
    if name == '' then
        return
    end
    local said = 'the breaker of ' .. name .. ' is ' .. word
    said = said .. (by ~= '' and (' by ' .. by) or '') .. (why ~= '' and (': ' .. why) or '')
    local note = {area = 'MONITOR', text = said, at = now, source = 'breaker:' .. name}
    note.tags = {'event:breaker-' .. word, 'capability:' .. name}
    note.data = {capability = name, word = word, by = by, why = why}
    local instant = string.format('%.0f', now)
    redis.call('HSET', notes, '>breaker:' .. name .. ':' .. instant, cjson.encode(note))
    redis.call('PEXPIRE', notes, keep)
end
