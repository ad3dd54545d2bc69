-- forget_noted.lua: no note lies in a hash any more, unless it was written of again since.
--
-- KEYS  noted  ZSET  key of a hash in which a note may lie -> since when, ms
-- ARGV  name   str   the key
-- ARGV  since  int   as the caller saw it
--
-- Reply  {'FORGOTTEN'} | {'KEPT'}

if tonumber(redis.call('ZSCORE', noted, name) or 0) > since then
    return {'KEPT'}
end
redis.call('ZREM', noted, name)
return {'FORGOTTEN'}
