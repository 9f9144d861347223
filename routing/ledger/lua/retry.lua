#!lua flags=allow-oom
-- Give a job back to its queue, now or later.
-- `counted`: 0 if the attempt never began, so that it does not count.
-- -> 'waiting' | 'failed' (no attempts are left) | 'done' (likewise, and its draft is the answer) | 'lost'
local id, token, bell, delay_ms, code, counted, max_attempts, retention_ms, note = unpack(ARGV)
fleet_only()
local job = held(id, token)
if not job then
  return 'lost'
end
if counted == '1' and job.attempts >= tonumber(max_attempts) then
  return finish(id, job, 'failed', retention_ms, 'error', code, 'error_note', note)
end
local attempts = counted == '1' and job.attempts or math.max(0, job.attempts - 1)
if tonumber(delay_ms) <= 0 then
  queue_up(id, job, job.queue, bell, 'error', code, 'error_note', note, 'attempts', attempts)
  return 'waiting'
end
local now = now_ms()
check_types(id, job.queue, job.priority)
redis.call('ZREM', 'fb:leases', id)
redis.call('HSET', job_key(id), 'state', 'waiting', 'queued', now, 'token', '', 'error', code,
  'error_note', note, 'attempts', attempts, 'worked_ms', job.worked_ms + now - job.started)
redis.call('ZADD', 'fb:later', now + delay_ms, id)
return 'waiting'
