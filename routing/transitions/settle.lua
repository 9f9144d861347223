#!lua flags=allow-oom
-- End a job with its answer, or with its failure. -> 1, or 0 when this claim no longer holds it
local id, token, state, receipt, answer, error, retention_ms = unpack(ARGV)
if not holds(id, token) then
  return 0
end
if answer ~= '' then
  redis.call('SET', 'fb:answer:' .. id, answer, 'PX', retention_ms)
end
finish(id, state, retention_ms, 'receipt', receipt, 'error', error)
return 1
