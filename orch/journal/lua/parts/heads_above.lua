-- heads_above.lua: the heads that begin so; with `wanted`, those whose last word is in it.
-- From one head to the next: as many steps as there are heads, however many members each has.
-- Needs index of the script.
local function heads_above(beginning, wanted)
    local heads = {}
    local from, last = '[' .. beginning, '(' .. beginning .. '\255'
    while true do
        local found = redis.call('ZRANGE', index, from, last, 'BYLEX', 'LIMIT', 0, 1)
        if not found[1] then
            return heads
        end
        local head = string.match(found[1], '^(.* )')
        if not wanted or wanted[string.match(head, '([^ ]*) $')] then
            heads[#heads + 1] = head
        end
        from = '(' .. head .. '\255'
    end
end
