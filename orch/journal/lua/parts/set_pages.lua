-- set_pages.lua: write items of maps; `pages` is flat name, value, …, where a value may be
-- {map, first, count}: so many results of that map, which are copied.
-- Needs call_with, and items of the script.
local function set_pages(pages)
    for i = 2, #pages, 2 do
        local from = pages[i]
        if type(from) == 'table' then
            local names = {}
            for number = from[2], from[2] + from[3] - 1 do
                names[#names + 1] = '=' .. from[1] .. '[' .. number .. ']'
            end
            local texts = redis.call('HMGET', items, unpack(names))
            for j = 1, #names do
                texts[j] = texts[j] or 'null'
            end
            pages[i] = '[' .. table.concat(texts, ',') .. ']'
        end
    end
    call_with('HSET', items, pages)
end
