-- read_view.lua: complete a reply, from its third place on, by what is asked for of the record, and
-- by pages of items. Needs add_view, and record of the script.
local function read_view(reply, reads, pages)
    if #reads > 0 then
        for i, value in ipairs(redis.call('HMGET', record, unpack(reads))) do
            reply[i + 2] = value
        end
    end
    add_view(reply, reads, pages)
end
