#!lua flags=allow-oom
-- End a job with its answer or its failure. -> the job's state | nil (the claim no longer holds
-- the job)
local id, token, state, receipt, answer, code, retention_ms = unpack(ARGV)
local job = held(id, token)
if not job then
  return nil
end
local reached = finish(id, job, state, retention_ms, 'receipt', receipt, 'error', code)
if answer ~= '' then
  redis.call('SET', 'fb:answer:' .. id, answer, 'PX', retention_ms)
  hold(id, job, job.bytes + #answer)
end
return reached
