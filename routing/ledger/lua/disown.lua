#!lua flags=allow-oom
-- Give back the jobs of a claim whose reply was lost: no worker knows of them. That is no attempt.
-- `nonce`: the claim's; ids of jobs that the worker does have may follow.
-- -> jobs given back
local nonce, bell = ARGV[1], ARGV[2]
local MAX_LEASES = 1000 -- the latest leases, which are looked at; the sweeper gives back all others
local kept, back = {}, 0
for i = 3, #ARGV do
  kept[ARGV[i]] = true
end
for _, id in ipairs(redis.call('ZREVRANGE', 'fb:leases', 0, MAX_LEASES - 1)) do
  local token = not kept[id] and redis.pcall('HGET', job_key(id), 'token')
  local job = type(token) == 'string' and string.find(token, '-' .. nonce, 1, true) and held(id, token)
  if job then
    queue_up(id, job, home(job), bell, 'attempts', math.max(0, job.attempts - 1))
    back = back + 1
  end
end
return back
