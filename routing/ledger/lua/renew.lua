#!lua flags=allow-oom
-- Hold a job a little longer. -> 1, or 0 when another holds it or it has ended
local id, token, lease_ms = unpack(ARGV)
if not held(id, token) then
  return 0
end
redis.call('ZADD', 'fb:leases', now_ms() + lease_ms, id)
return 1
