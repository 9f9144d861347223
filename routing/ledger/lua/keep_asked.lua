-- Keep with a job what its producer was asked, as long as the job itself. It counts as held by the
-- tenant. Only the first note of a job is kept.
-- -> 1 | 0 (there is no such job, or it has a note)
local id, note = unpack(ARGV)
local job = read(id)
if not job or job.asked > 0 then
  return 0
end
local key, left = 'fb:asked:' .. id, redis.call('PTTL', job_key(id))
redis.call('SET', key, note)
if left > 0 then
  redis.call('PEXPIRE', key, left)
end
redis.call('HSET', job_key(id), 'asked', #note)
hold(id, job, job.bytes + #note)
return 1
