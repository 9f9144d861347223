#!lua flags=allow-oom
-- Give a job back to its queue, now or later. A try that never began is not counted.
-- -> 'waiting' | 'failed' (its attempts are used up) | 'lost'
local id, token, bell, delay_ms, error, counted, max_attempts, retention_ms = unpack(ARGV)
if not holds(id, token) then
  return 'lost'
end
local key = job_key(id)
local job = redis.call('HMGET', key, 'queue', 'hop', 'attempts')
if counted == '1' and tonumber(job[3]) >= tonumber(max_attempts) then
  finish(id, 'failed', retention_ms, 'error', error)
  return 'failed'
end
if counted ~= '1' then
  redis.call('HINCRBY', key, 'attempts', -1)
end
if tonumber(delay_ms) <= 0 then
  queue_up(id, job[1], job[2], bell, 'error', error)
  return 'waiting'
end
local now = now_ms()
redis.call('ZREM', 'fb:leases', id)
redis.call('HINCRBY', key, 'worked_ms', now - redis.call('HGET', key, 'started'))
redis.call('HSET', key, 'state', 'waiting', 'queued', now, 'token', '', 'error', error)
redis.call('ZADD', 'fb:later', now + delay_ms, id)
return 'waiting'
