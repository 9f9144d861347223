#!lua flags=allow-oom
-- Move a job to a lane: from the router, or from Bedrock back to the local lane. Whatever the worker
-- decided, a job that may not leave is not moved to Bedrock. -> 'moved' | 'lost' | 'egress_denied'
local id, token, queue, bell, egress, reason, verdict = unpack(ARGV)
local job = held(id, token)
if not job then
  return 'lost'
end
if job.egress ~= 'allow' then
  egress = 'deny' -- a policy can force deny; nothing can force allow
end
if egress ~= 'allow' and queue == 'bedrock' then
  return 'egress_denied'
end
queue_up(id, job, queue, bell, 'egress', egress, 'reasons', reason, 'verdict', verdict,
  'attempts', 0)
return 'moved'
