-- say_ended.lua: whoever waits for the end of the execution is told, see `orch/journal/ends.py`.
-- Where an ACL forbids it, nothing else fails: who waits looks by itself.
-- Needs record of the script.
local function say_ended()
    redis.pcall('PUBLISH', record, 'ended')
end
