-- observe.lua: commit an observation, and leave beside it what is to be remembered of it.
--
-- KEYS  observed  HASH  `number`, `at` and `state` of the last one; `>id` -> JSON of a note that
--                       is not in the memory yet
-- ARGV  before    int   number of the one that it was compared with
-- ARGV  now       int   the caller's clock, ms
-- ARGV  state     str   JSON, what the next one is compared with
-- ARGV  notes     list  flat field, JSON, … of notes
-- ARGV  keep      int   ms
--
-- USES  call_with
--
-- Reply  {'OBSERVED', number} | {'OVERTAKEN', number}  somebody else has observed since

local number = tonumber(redis.call('HGET', observed, 'number') or 0)
if number ~= before then
    return {'OVERTAKEN', number}
end
number = number + 1
redis.call('HSET', observed, 'number', number, 'at', string.format('%.0f', now), 'state', state)
call_with('HSET', observed, notes)
redis.call('PEXPIRE', observed, keep)
return {'OBSERVED', number}
