-- is_repeated.lua: whether what is to be committed was, and the reply was lost: `text`, the state of
-- the token, is what it is to be. Another one may write the same in the same millisecond: of two
-- people who decide, or a person and the worker, each has another output, or another name.
-- Needs owner, state, path, texts, fields, steps and record of the script.
local function stands(key, list, name)
    for at = 1, #list, 2 do
        if list[at] == name then
            return redis.call('HGET', key, name) == list[at + 1]
        end
    end
    return true
end
local function is_repeated(text)
    return owner ~= '' and text == state
        and stands(steps, texts, '=' .. path) and stands(record, fields, 'g:' .. path)
end
