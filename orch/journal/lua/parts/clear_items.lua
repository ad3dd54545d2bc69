-- clear_items.lua: drop what is kept of the items of a map that has ended.
-- Needs items of the script. `clears`: {path, total, items on a page}.
local function clear_items(clears)
    local gone = {}
    for number = 0, clears[2] - 1 do
        local scope = clears[1] .. '[' .. number .. ']'
        gone[#gone + 1] = '=' .. scope
        gone[#gone + 1] = '!' .. scope
        if number % clears[3] == 0 then
            gone[#gone + 1] = clears[1] .. '/' .. number / clears[3]
        end
    end
    call_with('HDEL', items, gone)
end
