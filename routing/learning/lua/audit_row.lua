#!lua
-- Create the audit of a kept answer to a row of a shard that is being worked. A row has no record of
-- its own, and its producer forgets the shard once it has the results. So a record of the row is made
-- here, which is done and has the answer, and with it a shadow, as `audit.lua` makes one of a job. Both
-- expire after `keep_ms`, and a tenant has at most `most` such records.
-- -> {'created', id} | {'known', id} the audit exists already
--    {'unkept'} the claim is lost, or the content may not leave | {'enough', number of records} |
--    {'full', depth} | {'memory', percent} | {'promised', bytes} | {'quota', bytes}
--
-- Keys:  fb:audited:<tenant>  zset  record of an audited row -> ms at which it expires
local shard, token, audited, receipt, answer, keep_ms, most = unpack(ARGV, 1, 7)
local id, queue, bell, content, max_waiting = unpack(ARGV, 8, 12)
local given = given_fields({ unpack(ARGV, 13) })
local lasts_ms = positive(keep_ms, 'keep_ms')
check_new(id, queue, bell)
local job = held(shard, token)
if not job or job.rows == 0 or job.egress ~= 'allow' or not same_tenant(shard, id)
  or not same_tenant(shard, audited) then
  return { 'unkept' }
end
if read(audited) or read(id) then
  return { 'known', id }
end
local kept, now = 'fb:audited:' .. tenant_of(audited), now_ms()
redis.call('ZREMRANGEBYSCORE', kept, '-inf', now)
local number_kept = redis.call('ZCARD', kept)
if number_kept >= number(most) then
  return { 'enough', tostring(number_kept) }
end
local refused = refusal(id, queue, max_waiting, given.answer_bytes)
if refused then
  return refused
end
local bytes = RECORD_BYTES + #answer
redis.call('HSET', job_key(audited), 'kind', given.kind, 'egress', 'allow', 'priority', 'bulk',
  'deadline', '', 'answer_bytes', 0, 'contract', job.contract, 'state', 'done', 'hop', 'local',
  'queue', job.queue, 'token', '', 'created', now, 'created_us', string.format('%.0f', now_us()),
  'queued', now, 'queued_ms', 0, 'worked_ms', 0, 'attempts', job.attempts, 'fence', 0, 'ended', now,
  'reasons', job.reasons, 'bytes', bytes, 'receipt', receipt, 'error', '', 'promoted', '',
  'audited_as', id)
redis.call('PEXPIRE', job_key(audited), lasts_ms)
redis.call('SET', 'fb:answer:' .. audited, answer, 'PX', lasts_ms)
account('held', audited, bytes)
redis.call('ZADD', kept, now + lasts_ms, audited)
redis.call('PEXPIRE', kept, lasts_ms)
put_on(id, queue, bell, content, given, 'audit_of', audited)
return { 'created', id }
