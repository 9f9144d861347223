#!lua flags=allow-oom
-- Store a value unless the key has one, also while memory is full: a worker that starts needs it.
-- -> the stored value
local key, value = unpack(ARGV)
fleet_only()
redis.call('SET', key, value, 'NX')
return redis.call('GET', key)
