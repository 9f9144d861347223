#!lua flags=allow-oom
-- Record that a worker serves these queues for the next `for_ms`, also while memory is full.
-- `kept_ms`: how long Redis remembers that a queue was served, and a worker that is gone. `about`:
-- what the worker says of itself; without it, a worker that serves no longer is forgotten.
-- -> since when Redis has had its data, in ms; empty if this user of Redis may not know it
local worker, for_ms, kept_ms, about = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = now_ms()
if about ~= '' then
  redis.call('ZADD', 'fb:workers', now, worker)
  redis.call('ZREMRANGEBYSCORE', 'fb:workers', '-inf', now - kept_ms)
  redis.call('SET', 'fb:worker:' .. worker, about, 'PX', kept_ms)
elseif for_ms <= 0 then
  redis.call('ZREM', 'fb:workers', worker)
  redis.call('DEL', 'fb:worker:' .. worker)
end
for i = 5, #ARGV do
  local key = 'fb:serving:' .. ARGV[i]
  redis.call('ZADD', key, now + for_ms, worker)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - kept_ms)
  redis.call('PEXPIRE', key, math.max(0, for_ms) + kept_ms)
  redis.pcall('SADD', 'fb:queues', ARGV[i])
end
-- A sweeper's user of Redis that was made before this version may not write it.
redis.pcall('SET', 'fb:born', now, 'NX')
local born = redis.pcall('GET', 'fb:born')
return type(born) == 'string' and born or ''
