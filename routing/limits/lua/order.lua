#!lua flags=allow-oom
-- Keep an operator's order, also while memory is full: that is when a tenant has to be paused.
local key, field, value = unpack(ARGV)
fleet_only()
return redis.call('HSET', key, field, value)
