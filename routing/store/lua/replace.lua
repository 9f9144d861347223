#!lua
-- Replace a field of a hash if it still holds what the caller has read.
-- -> 1 | 0 (somebody has changed or removed it meanwhile)
local key, field, before, after = unpack(ARGV)
if redis.call('HGET', key, field) ~= before then
  return 0
end
redis.call('HSET', key, field, after)
return 1
