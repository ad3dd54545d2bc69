-- lead.lua: of many that could, one leads: the first to ask, for as long as it goes on asking.
--
-- KEYS  leader  STRING  who leads; it expires
-- ARGV  me      str     who asks
-- ARGV  ttl     int     ms for which the answer holds
-- ARGV  ends    int     1: it does not want to lead any more
--
-- Reply  {'LEADS'} | {'FOLLOWS', who}

local who = redis.call('GET', leader)
if who and who ~= me then
    return {'FOLLOWS', who}
end
if ends == 1 then
    redis.call('DEL', leader)
    return {'FOLLOWS', ''}
end
redis.call('SET', leader, me, 'PX', ttl)
return {'LEADS'}
