-- write_tokens.lua: write states and texts of steps, and when to look at them; `opens` are
-- {path, state, due | 0}. `written` and `watched` may hold more that is to be written.
-- Needs call_with, and steps, watch and id of the script.
local function write_tokens(opens, texts, written, watched)
    for _, open in ipairs(opens) do
        written[#written + 1] = open[1]
        written[#written + 1] = open[2]
        if open[3] > 0 then
            watched[#watched + 1] = open[3]
            watched[#watched + 1] = id .. ' ' .. open[1]
        end
    end
    for _, text in ipairs(texts) do
        written[#written + 1] = text
    end
    call_with('HSET', steps, written)
    call_with('ZADD', watch, watched)
end
