#!lua flags=allow-oom
-- Ask to be woken when a job ends. -> its state now, or nothing for an unknown job
local id, stream = unpack(ARGV)
local state = redis.call('HGET', job_key(id), 'state')
if state and not ended(state) then
  redis.call('SADD', 'fb:watchers:' .. id, stream)
end
return state
