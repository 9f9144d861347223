#!lua flags=allow-oom
-- Move the jobs that have waited longest from a group into a batch that is being written, and begin
-- the batch if it is new. A job of a bulk that is paused or cancelled goes back to its queue.
-- -> the number of jobs that were moved; -1 if the batch is not being written any more
-- Each job gets a record id of 11 characters, as the service's documentation has them.
local batch, group, most, delay_ms, max_records = unpack(ARGV, 1, 5)
delay_ms = positive(delay_ms, 'delay_ms')
local key, waiting = 'fb:bedrock:batch:' .. batch, 'fb:bedrock:group:' .. group
local jobs, now = key .. ':jobs', now_ms()
local state = redis.call('HGET', key, 'state')
if state and state ~= 'writing' then
  return -1
end
if not state then
  redis.call('HSET', key, 'state', 'writing', 'group', group, 'at', now, unpack(ARGV, 6))
  redis.call('ZADD', 'fb:bedrock:batches', now, batch)
end
local boarded, number_of = 0, redis.call('HLEN', jobs)
local room = math.min(tonumber(most), tonumber(max_records) - number_of)
for _, id in ipairs(room > 0 and redis.call('ZRANGE', waiting, 0, room - 1) or {}) do
  redis.call('ZREM', waiting, id)
  local job = is_id(id) and read(id)
  if job and job.state == 'waiting' and redis.pcall('HGET', job_key(id), 'batch') == 'waiting' then
    local bulk = bulk_state(id, job)
    if bulk == 'cancelled' or bulk == 'paused' then
      redis.call('HSET', job_key(id), 'batch', '')
      redis.call('ZADD', 'fb:later', now, id)
    else
      redis.call('HSET', job_key(id), 'batch', batch)
      redis.call('ZADD', 'fb:later', now + delay_ms, id)
      redis.call('HSET', jobs, string.format('R%010d', number_of + boarded), id)
      boarded = boarded + 1
    end
  end
end
if redis.call('ZCARD', waiting) == 0 then
  redis.call('SREM', 'fb:bedrock:groups', group)
end
return boarded
