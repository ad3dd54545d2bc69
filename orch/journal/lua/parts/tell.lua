-- tell.lua: write events into the history, and onto the stream if somebody listens: whoever
-- does has made it, and it expires when nobody has listened for a while.
-- Needs history, stream and id of the script.
local function tell(texts)
    for i = 1, #texts, 1000 do
        local last = math.min(i + 999, #texts)
        redis.call('RPUSH', history, unpack(texts, i, last))
        local entry = {'x', id}
        for j = i, last do
            entry[#entry + 1] = j
            entry[#entry + 1] = texts[j]
        end
        redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', 4000, '*', unpack(entry))
    end
end
