#!lua flags=allow-oom
-- Move a batch from one state to the next, and set further fields of it. A worker that was taken for
-- dead, while another went on with the batch, learns so here and stops.
-- -> 1 | 0 (the batch is not in that state)
local MAX_ENDED = 1000 -- batches that have ended and can still be listed
local batch, from, to, keep_ms = unpack(ARGV, 1, 4)
local key, ended, now = 'fb:bedrock:batch:' .. batch, 'fb:bedrock:batches:ended', now_ms()
keep_ms = positive(keep_ms, 'keep_ms')
if redis.call('HGET', key, 'state') ~= from then
  return 0
end
redis.call('HSET', key, 'state', to, unpack(ARGV, 5))
if to == 'ended' then
  redis.call('HSET', key, 'ended_at', now)
  redis.call('ZREM', 'fb:bedrock:batches', batch)
  redis.call('ZADD', ended, now, batch)
  redis.call('ZREMRANGEBYRANK', ended, 0, -MAX_ENDED - 1)
  redis.call('PEXPIRE', key, keep_ms)
  redis.call('PEXPIRE', key .. ':jobs', keep_ms)
  redis.call('PEXPIRE', ended, keep_ms)
end
return 1
