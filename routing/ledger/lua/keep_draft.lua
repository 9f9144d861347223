#!lua flags=allow-oom
-- Replace the answer that is kept with a running job, or remove it. -> 1 | 0 (the claim is lost)
local id, token, draft = unpack(ARGV)
fleet_only()
if not held(id, token) then
  return 0
end
if draft == '' then
  redis.call('DEL', 'fb:draft:' .. id)
else
  redis.call('SET', 'fb:draft:' .. id, draft)
end
return 1
