#!lua flags=allow-oom
-- Move a job from local to Bedrock because its local answer was not good enough. That answer is
-- kept as a draft, which becomes a degraded answer if Bedrock gives none.
-- -> 'moved' | 'lost' | 'egress_denied'
local id, token, bell, reason, draft, doubt = unpack(ARGV)
fleet_only()
local job = held(id, token)
if not job then
  return 'lost'
end
if job.egress ~= 'allow' then
  return 'egress_denied'
end
queue_up(id, job, 'bedrock', bell, 'reasons', job.reasons .. ',' .. reason,
  'doubt', doubt, 'attempts', 0)
if draft ~= '' then
  redis.call('SET', 'fb:draft:' .. id, draft)
end
return 'moved'
