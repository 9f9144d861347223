-- Replace what a job's producer was asked by another note, which is kept as long as the first.
-- -> 1 | 0 (there is no such job, or it has no note)
local id, note = unpack(ARGV)
local job = read(id)
if not job or job.asked <= 0 then
  return 0
end
redis.call('SET', 'fb:asked:' .. id, note, 'KEEPTTL')
redis.call('HSET', job_key(id), 'asked', #note)
hold(id, job, job.bytes - job.asked + #note)
return 1
