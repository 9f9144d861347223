#!lua flags=allow-oom
-- Move a job up the ladder after its local answer would not do; that answer is kept as a draft, to
-- be given as a degraded one should the ladder end there. -> 'moved' | 'lost' | 'egress_denied'
local id, token, bell, reason, draft = unpack(ARGV)
if not holds(id, token) then
  return 'lost'
end
local key = job_key(id)
local old = redis.call('HMGET', key, 'egress', 'reasons')
if old[1] ~= 'allow' then
  return 'egress_denied'
end
if draft ~= '' then
  redis.call('SET', 'fb:draft:' .. id, draft)
end
queue_up(id, 'bedrock', 'bedrock', bell, 'reasons', old[2] .. ',' .. reason, 'attempts', 0)
return 'moved'
