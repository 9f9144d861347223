#!lua flags=allow-oom
-- Have jobs leave a batch, or a group in which they wait for one. They go to their queue, to be called
-- one by one, or into `to_group` (if not empty), to wait for the next batch.
-- -> the number of jobs that left; a job that has ended, or is elsewhere, is passed over
local bell, from, of_group, to_group, delay_ms = unpack(ARGV, 1, 5)
local now, left = now_ms(), 0
for i = 6, #ARGV do
  local id = ARGV[i]
  local job = is_id(id) and read(id)
  if of_group ~= '' then
    redis.call('ZREM', 'fb:bedrock:group:' .. of_group, id)
  end
  if job and job.state == 'waiting' and redis.pcall('HGET', job_key(id), 'batch') == from then
    if to_group ~= '' then
      redis.call('HSET', job_key(id), 'batch', 'waiting')
      redis.call('ZADD', 'fb:bedrock:group:' .. to_group, job.queued, id)
      redis.call('SADD', 'fb:bedrock:groups', to_group)
      redis.call('ZADD', 'fb:later', now + positive(delay_ms, 'delay_ms'), id)
    else
      queue_up(id, job, home(job), bell, 'batch', 'over')
    end
    left = left + 1
  end
end
if of_group ~= '' and redis.call('ZCARD', 'fb:bedrock:group:' .. of_group) == 0 then
  redis.call('SREM', 'fb:bedrock:groups', of_group)
end
return left
