-- amend.lua: change fields of a hash, and leave a note of it in the same hash.
--
-- KEYS  hash    HASH  what a manager keeps; `>id` -> JSON of a note that is not delivered yet
-- ARGV  expect  list  flat field, value | '', …: what must be there; '': nothing
-- ARGV  sets    list  flat field, value, …
-- ARGV  drops   list  fields that go; where none of them is there, nothing changes
-- ARGV  notes   list  flat field, JSON, … of notes
--
-- USES  call_with
--
-- Reply  {'AMENDED'} | {'AS_BEFORE'}

for i = 1, #expect, 2 do
    if (redis.call('HGET', hash, expect[i]) or '') ~= expect[i + 1] then
        return {'AS_BEFORE'}
    end
end
if drops[1] and redis.call('HDEL', hash, unpack(drops)) == 0 then
    return {'AS_BEFORE'}
end
call_with('HSET', hash, sets)
call_with('HSET', hash, notes)
return {'AMENDED'}
