#!lua flags=allow-oom
-- Record that a worker serves these queues for the next `for_ms`, also while memory is full.
-- `kept_ms`: how long Redis remembers that a queue was served. -> the number of queues
local worker, for_ms, kept_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
for i = 4, #ARGV do
  local key = 'fb:serving:' .. ARGV[i]
  redis.call('ZADD', key, now + for_ms, worker)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - kept_ms)
  redis.call('PEXPIRE', key, for_ms + kept_ms)
  redis.pcall('SADD', 'fb:queues', ARGV[i])
end
return #ARGV - 3
