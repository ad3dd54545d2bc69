-- pause_over.lua: since when (ms) the token at `path` rests, as it is in a branch that is paused;
-- nil: it does not. `pauses`: what the record says, {branch: since}. As `pausing.pauses_over`.
local function pause_over(pauses, path)
    local found
    for branch, since in pairs(pauses) do
        local behind = string.sub(path, #branch + 1, #branch + 1)
        if string.sub(path, 1, #branch) == branch
            and (behind == '' or behind == '/' or behind == '[') then
            found = math.min(found or since, since)
        end
    end
    return found
end
