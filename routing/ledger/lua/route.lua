#!lua flags=allow-oom
-- Move jobs to a lane: from the router, from Bedrock back to the local lane, or to another pool.
-- Whatever the worker decided, a job that may not leave is not moved to Bedrock.
-- -> for each job 'moved' | 'lost' | 'egress_denied'
-- Each job has six arguments after the doorbell: id, token, queue, egress, reason, verdict.
local bell = ARGV[1]
fleet_only()

local function move(id, token, queue, egress, reason, verdict)
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
end

return together(function()
  local replies = {}
  for i = 2, #ARGV, 6 do
    replies[#replies + 1] = move(unpack(ARGV, i, i + 5))
  end
  return replies
end)
