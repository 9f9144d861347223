#!lua flags=allow-oom
-- End jobs, each with its answer or its failure.
-- -> for each job its state | nil (the claim no longer holds the job) | an error, which stops this job
--    only
-- Each job has six arguments after the first: id, token, state, receipt, answer, code.
local retention_ms = ARGV[1]
fleet_only()

local function settle(id, token, state, receipt, answer, code)
  local job = held(id, token)
  if not job then
    return false
  end
  local reached = finish(id, job, state, retention_ms, 'receipt', receipt, 'error', code)
  if answer ~= '' then
    redis.call('SET', 'fb:answer:' .. id, answer, 'PX', retention_ms)
    hold(id, job, job.bytes + #answer)
  end
  return reached
end

return together(function()
  local replies = {}
  for i = 2, #ARGV, 6 do
    local settled, reply = pcall(settle, unpack(ARGV, i, i + 5))
    if not settled then
      reply = redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))
    end
    replies[#replies + 1] = reply
  end
  return replies
end)
