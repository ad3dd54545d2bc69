-- bury.lua: take back the sign of life of a worker that has died, if it gave no other since.
--
-- KEYS  worker  STRING  what the worker last said
-- ARGV  said    str     what the caller saw of it
--
-- Reply  {'BURIED'} | {'ALIVE'}

if redis.call('GET', worker) ~= said then
    return {'ALIVE'}
end
redis.call('DEL', worker)
return {'BURIED'}
