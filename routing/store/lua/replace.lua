#!lua flags=allow-oom
-- Replace a field of a hash if it still holds what the caller has read, also while memory is full: a key that
-- somebody else knows has to be rotated then too.
-- -> 1 | 0 (somebody has changed or removed it meanwhile)
local key, field, before, after = unpack(ARGV)
fleet_only()
if redis.call('HGET', key, field) ~= before then
  return 0
end
redis.call('HSET', key, field, after)
return 1
