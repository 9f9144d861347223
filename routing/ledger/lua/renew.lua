#!lua flags=allow-oom
-- Renew the lease of a job. -> 1 | 0 (the job has ended, or another worker holds it)
local id, token, lease_ms = unpack(ARGV)
if not held(id, token) then
  return 0
end
redis.call('ZADD', 'fb:leases', now_ms() + lease_ms, id)
return 1
