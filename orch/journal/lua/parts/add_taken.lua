-- add_taken.lua: complete a reply by what a claim gives: the worker goes on with the token `over`,
-- {path, state}. `handoff`: as in settle.lua. Needs read_view.
local function add_taken(reply, handoff, over)
    local reads, pages = handoff[5], handoff[6]
    local have = {'', over[2]}
    read_view(have, reads, pages)
    reply[4] = over[1]
    for i = 2, #reads + #pages + 2 do
        reply[i + 3] = have[i]
    end
end
