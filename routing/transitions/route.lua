#!lua flags=allow-oom
-- Move a job from the router to its lane. Content that may not leave is refused here once more,
-- whoever asks. -> 'moved' | 'lost' | 'egress_denied'
local id, token, queue, hop, bell, egress, reason, verdict = unpack(ARGV)
if not holds(id, token) then
  return 'lost'
end
local key = job_key(id)
if redis.call('HGET', key, 'egress') ~= 'allow' then
  egress = 'deny' -- a policy can force deny; nothing can force allow
end
if egress ~= 'allow' and (hop == 'bedrock' or queue == 'bedrock') then
  return 'egress_denied'
end
queue_up(id, queue, hop, bell, 'egress', egress, 'reasons', reason, 'verdict', verdict, 'attempts', 0)
return 'moved'
