-- Set fields of a record, a hash, that somebody may delete at any time: a deleted one does not come back.
-- `there`: a field that the record has as long as it is there; pairs of a field and its value follow.
-- -> 1 | 0 (there is no such record)
local key, there = ARGV[1], ARGV[2]
local FAMILIES = { batch = true, bulk = true, keys = true, webhooks = true }
if not FAMILIES[string.match(key, '^fb:(%a+)')] then
  error('key: must be that of a batch, a bulk, keys or webhooks')
end
if not redis.call('HGET', key, there) then
  return 0
end
redis.call('HSET', key, unpack(ARGV, 3))
return 1
