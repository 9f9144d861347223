#!lua flags=allow-oom
-- Write the ends of a tenant's jobs to no stream any more, unless the tenant has a webhook again.
-- -> 1 | 0 (it has one)
local tenant = ARGV[1]
local webhooks, left = 'fb:webhooks:' .. tenant, {}
local stored = redis.call('HGETALL', webhooks)
for i = 1, #stored, 2 do
  if not string.find(stored[i], ' ', 1, true) then
    return 0
  end
  left[#left + 1] = stored[i] -- how the last delivery of a webhook went that is gone
end
redis.call('DEL', 'fb:watchers:' .. tenant .. '.:webhooks', 'fb:wake:' .. tenant .. ':webhooks')
redis.call('SREM', 'fb:webhooks', tenant)
if #left > 0 then
  redis.call('HDEL', webhooks, unpack(left))
end
return 1
