-- leave_life.lua: what became of the execution as a whole is told outside. `life`: flat id, JSON,
-- ms when to deliver it, … of notices, to each of which is added what the record says.
-- Needs record, outbox and watch of the script.
local function leave_life(life)
    if not life[1] then
        return
    end
    local have = redis.call('HMGET', record, 'workflow', 'version', 'plan', 'project', 'created')
    local said = {workflow = have[1], version = have[2], plan = have[3], project = have[4] or ''}
    said.created = tonumber(have[5])
    for i = 1, #life, 3 do
        local text = string.sub(life[i + 1], 1, -2) .. ',' .. string.sub(cjson.encode(said), 2)
        redis.call('HSET', outbox, life[i], text)
        redis.call('ZADD', watch, life[i + 2], 'notice:' .. life[i] .. ' ')
    end
end
