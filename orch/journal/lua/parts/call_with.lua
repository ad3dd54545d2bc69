-- call_with.lua: one command for many values, in pieces: `unpack` ends at some thousands.
local function call_with(command, key, values)
    for i = 1, #values, 1000 do
        redis.call(command, key, unpack(values, i, math.min(i + 999, #values)))
    end
end
