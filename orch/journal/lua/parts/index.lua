-- index.lua: under which heads an execution is found: `head started execution`, see
-- `orch/journal/heads.py`. Its status has changed; `error` is the head of the error that it ended
-- with, or has no more, or ''.
-- Needs record, index and id of the script.
local function move_index(from, to, error)
    local have = redis.call('HMGET', record, 'workflow', 'version', 'created', 'degraded')
    local function quoted(text)
        return (string.gsub(text, '[^%w_.~-]', function(char)
            return string.format('%%%02X', string.byte(char))
        end))
    end
    local kind = 'w' .. quoted(have[1]) .. ' ' .. have[2] .. ' '
    local found = string.format('%013.0f', tonumber(have[3])) .. id
    redis.call('ZREM', index, 's' .. from .. ' ' .. found, kind .. from .. ' ' .. found)
    redis.call('ZADD', index, 0, 's' .. to .. ' ' .. found, 0, kind .. to .. ' ' .. found)
    if to == 'completed' and have[4] then
        redis.call('ZADD', index, 0, 'd ' .. found)
    end
    if error ~= '' and (to == 'running' or to == 'queued') then
        redis.call('ZREM', index, error .. found)
    elseif error ~= '' then
        redis.call('ZADD', index, 0, error .. found)
    end
end
