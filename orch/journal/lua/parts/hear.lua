-- hear.lua: put events onto the stream, if somebody listens: whoever does has made it, and it
-- expires when nobody has listened for a while.
-- Needs stream and id of the script.
local heard = nil
local function hear(texts)
    if #texts > 0 and heard == nil then
        heard = redis.call('EXISTS', stream) == 1
    end
    for i = 1, heard and #texts or 0, 1000 do
        local entry = {'x', id}
        for j = i, math.min(i + 999, #texts) do
            entry[#entry + 1] = j
            entry[#entry + 1] = texts[j]
        end
        redis.call('XADD', stream, 'MAXLEN', '~', 4000, '*', unpack(entry))
    end
end
