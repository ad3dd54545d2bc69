-- add_view.lua: complete a reply that holds, from its third place on, what HMGET gave for
-- `reads`: all variables where they were asked for, and then pages of items.
-- Needs record and items of the script.
local function add_view(reply, reads, pages)
    for i, name in ipairs(reads) do
        if name == 'v*' then
            local all = {}
            local found = redis.call('HGETALL', record)
            for j = 1, #found, 2 do
                if string.sub(found[j], 1, 2) == 'v:' then
                    all[#all + 1] = found[j]
                    all[#all + 1] = found[j + 1]
                end
            end
            reply[i + 2] = all
        end
    end
    for i, page in ipairs(pages) do
        reply[#reads + 2 + i] = redis.call('HGET', items, page)
    end
end
