-- withdraw.lua: the escalation of the step at `name` ends with its branch or its execution: who has
-- heard of it hears of that, too.
-- Needs record, outbox, watch, id and now of the script.
local function withdraw(name)
    local text, workflow = unpack(redis.call('HMGET', record, 'g:' .. name, 'workflow'))
    if not text then
        return
    end
    local found = cjson.decode(text)
    local notice = {event = 'resolved', execution = id, path = name, workflow = workflow, at = now}
    notice.id = id .. ':' .. name .. ':' .. found.seq + 1
    notice.decision = found.decision or 'cancelled'
    for _, field in ipairs({'rung', 'kind', 'queue', 'ladder', 'raised', 'acknowledged', 'by'}) do
        notice[field] = found[field]
    end
    if found.error then
        local error = found.error
        notice.error = {name = error.name, class = error.class, message = error.message}
    end
    redis.call('HSET', outbox, notice.id, cjson.encode(notice))
    redis.call('ZADD', watch, now, 'notice:' .. notice.id .. ' ')
end
