-- index.lua: under which heads an execution is found: `head started execution`, see
-- `orch/journal/heads.py`. Its status has changed; `error` is the head of the error that it ended
-- with, or has no more, or ''. `totals`: of scripts that may end it, where ends are counted, with
-- how long they took; the bounds are those of `orch/journal/counting.py`.
-- Needs record, index and id of the script.
local function move_index(from, to, error, totals)
    local have = redis.call('HMGET', record, 'workflow', 'version', 'created', 'degraded', 'begun',
        'ended', 'at', 'gates')
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
    if totals and (to == 'completed' or to == 'failed' or to == 'cancelled') then
        local begun = have[5] or not have[7] and not have[8] and have[3] or have[6]
        local took = math.max(tonumber(have[6]) - tonumber(begun), 0)
        local bucket = '+'
        for _, bound in ipairs({100, 500, 1000, 5000, 10000, 30000, 60000, 300000, 600000,
            1800000, 3600000, 21600000, 86400000}) do
            if took <= bound then
                bucket = string.format('%d', bound)
                break
            end
        end
        local ended = quoted(have[1]) .. ' ' .. to
        redis.call('HINCRBY', totals, 'e' .. ended .. ' ' .. bucket, 1)
        redis.call('HINCRBY', totals, 't' .. ended, string.format('%.0f', took))
    end
end
