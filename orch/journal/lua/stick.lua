-- stick.lua: which agent does the steps of a key, chosen once by whoever is first.
--
-- KEYS  affinity  HASH  queue -> the agent that does its steps of this key
-- ARGV  queue     str   that of the capability of the step
-- ARGV  fit       list  names of the agents that may do it now
-- ARGV  chosen    str   the one of them that does if none has the key
-- ARGV  keep      int   ms for which the key is kept after it was asked for last
--
-- Reply  {'STUCK', agent}

local may = {}
for _, name in ipairs(fit) do
    may[name] = true
end
local agent = redis.call('HGET', affinity, queue)
if not (agent and may[agent]) then
    -- One that does other steps of the key does this one, too; of several the first by name.
    agent = nil
    for _, name in ipairs(redis.call('HVALS', affinity)) do
        if may[name] and (not agent or name < agent) then
            agent = name
        end
    end
    agent = agent or chosen
    redis.call('HSET', affinity, queue, agent)
end
redis.call('PEXPIRE', affinity, keep)
return {'STUCK', agent}
