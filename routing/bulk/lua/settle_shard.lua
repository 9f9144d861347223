#!lua flags=allow-oom
-- End a shard with the results of its rows, count them in its bulk, and make a job for Bedrock of each
-- row that goes up, all in one step: no row is lost or asked twice if the worker dies.
-- `numbers`: how many pairs (counter, number) follow; then come the rows that go up, each with its id,
-- content, draft, reasons and doubt.
-- -> 'settled' | 'lost' | 'egress_denied'
local id, token, receipt, answer, retention_ms, bell, answer_bytes, numbers = unpack(ARGV, 1, 8)
local FIRST, PER_ROW = 9, 5
fleet_only()
local job = held(id, token)
if not job then
  return 'lost'
end
local first_row = FIRST + 2 * number(numbers)
if first_row <= #ARGV and job.egress ~= 'allow' then
  return 'egress_denied'
end
for at = first_row, #ARGV, PER_ROW do
  if not same_tenant(id, ARGV[at]) then
    error('row: must be a job of the same tenant')
  end
end
local key = bulk_key(id, job)
if key then
  for at = FIRST, first_row - 1, 2 do
    redis.pcall('HINCRBY', key, ARGV[at], ARGV[at + 1])
  end
end
finish(id, job, 'done', retention_ms, 'receipt', receipt, 'error', '')
if answer ~= '' then
  redis.call('SET', 'fb:answer:' .. id, answer, 'PX', retention_ms)
  hold(id, job, job.bytes + #answer)
end
local kind, traceparent = unpack(redis.call('HMGET', job_key(id), 'kind', 'traceparent'))
for at = first_row, #ARGV, PER_ROW do
  local row, content, draft, reasons, doubt = unpack(ARGV, at, at + PER_ROW - 1)
  if not read(row) then
    local given = given_fields({ 'kind', kind, 'egress', 'allow', 'priority', 'bulk', 'deadline',
      job.deadline, 'answer_bytes', answer_bytes, 'traceparent', traceparent,
      'contract', job.contract })
    put_on(row, 'bedrock', bell, content, given, 'reasons', reasons, 'doubt', doubt, 'bulk', job.bulk)
    if draft ~= '' then
      redis.call('SET', 'fb:draft:' .. row, draft)
    end
  elseif key then
    redis.pcall('HINCRBY', key, 'rows_up', -1) -- it went up before Redis lost the shard
  end
end
return 'settled'
