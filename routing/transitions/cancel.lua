#!lua flags=allow-oom
-- End a job wherever it is; a worker that has it learns so when it next renews.
-- -> 1 | 0 (it had ended) | -1 (no such job)
local id, retention_ms = unpack(ARGV)
local state = redis.call('HGET', job_key(id), 'state')
if not state then
  return -1
end
if ended(state) then
  return 0
end
finish(id, 'cancelled', retention_ms, 'error', 'cancelled')
return 1
