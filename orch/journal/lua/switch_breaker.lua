-- switch_breaker.lua: open or close a breaker by hand.
--
-- KEYS  breaker  HASH  its state, as in ask_breaker.lua; `by` is who opened it
-- KEYS  changes  LIST  the latest changes
-- KEYS  notes    HASH  `>id` -> JSON of a change that is to be remembered
-- ARGV  now      int   the caller's clock, ms
-- ARGV  opens    int   1: it is opened; 0: it is closed, and what was counted is forgotten
-- ARGV  over     int   until when it is open, ms; 0: until somebody closes it
-- ARGV  by       str   who wants it
-- ARGV  why      str   the reason, or ''
-- ARGV  keep     int   ms for which it is kept
-- ARGV  name     str   the capability, if changes are to be remembered, or ''
--
-- USES  note_change
--
-- Reply  {'SWITCHED'} | {'AS_BEFORE'}  it was closed

local since = redis.call('HGET', breaker, 'since')
if opens == 0 and not since then
    redis.call('DEL', breaker)
    return {'AS_BEFORE'}
end
redis.call('DEL', breaker)
if opens == 0 then
    note_change('closed', by, why)
    return {'SWITCHED'}
end
since = since or string.format('%.0f', now)
local instant = string.format('%.0f', over)
redis.call('HSET', breaker, 'since', since, 'until', instant, 'by', by, 'why', why)
redis.call('PEXPIRE', breaker, keep)
note_change('opened', by, why)
return {'SWITCHED'}
