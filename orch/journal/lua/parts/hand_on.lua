-- hand_on.lua: the worker that settles a step goes on itself with the token at `path`, which has
-- just come to the state `text` and has no message: what a claim would write and give.
-- `handoff`: {owner, plan, due, quiet as 1 | 0, fields of the record, pages of items}.
-- The answer is that of a claim, its first place empty; nil: a message is needed as ever.
-- Needs tell, add_view, pause_over, and steps, record, watch, id, now and owner of the
-- script.
local function hand_on(handoff, path, text)
    local before = owner
    local owner, plan, due, quiet, reads = unpack(handoff)
    local have = redis.call('HMGET', record, 'pauses', 'status', 'plan', unpack(reads))
    local pauses = table.remove(have, 1)
    if have[1] ~= 'running' or have[2] ~= plan then
        return nil
    end
    if pauses and pause_over(cjson.decode(pauses), path) then
        return nil
    end
    local state = cjson.decode(text)
    state[1], state[5], state[6], state[7] = 'running', now, owner, now
    text = cjson.encode(state)
    redis.call('HSET', steps, path, text)
    redis.call('ZADD', watch, due, id .. ' ' .. path)
    if quiet == 0 then
        tell_claim(path, state[2], owner, before)
    end
    have[1], have[2] = '', text
    add_view(have, reads, handoff[6])
    return have
end
