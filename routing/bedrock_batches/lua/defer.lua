#!lua flags=allow-oom
-- Have a running job wait for a batch on Bedrock, in a group of jobs that may share one. If no batch
-- takes the job within `delay_ms`, a sweep gives it back to its queue.
-- -> 'moved' | 'lost' | 'egress_denied'
--
-- Keys:  the field `batch` of a job  `waiting` (in a group), the id of the batch that has it, or `over`
--                                 (the batch gave no answer, or there was none: it is called by itself)
--        fb:bedrock:groups        set   groups in which jobs may wait: '<tenant> <model>'
--        fb:bedrock:group:<group> zset  job id -> ms since when it waits
--        fb:bedrock:batches       zset  id of a batch that has not ended -> ms at which it was begun
--        fb:bedrock:batches:ended zset  id of a batch that has ended -> ms at which it ended
--        fb:bedrock:batch:<id>    hash  a batch; see `batch_record.py`
--        fb:bedrock:batch:<id>:jobs  hash  record id in the batch's file -> job id
--        fb:bedrock:rests         hash  model -> why no batch of it is made for a while (JSON)
local id, token, group, delay_ms = unpack(ARGV)
delay_ms = positive(delay_ms, 'delay_ms')
local job = held(id, token)
if not job then
  return 'lost'
end
if job.egress ~= 'allow' then
  return 'egress_denied'
end
local now, waiting = now_ms(), 'fb:bedrock:group:' .. group
check_types(id, job.queue, job.priority)
redis.call('ZCARD', waiting)
redis.call('ZREM', 'fb:leases', id)
redis.call('HSET', job_key(id), 'state', 'waiting', 'queued', now, 'token', '', 'batch', 'waiting',
  'attempts', math.max(0, job.attempts - 1), 'worked_ms', job.worked_ms + now - job.started)
redis.call('ZADD', 'fb:later', now + delay_ms, id)
redis.call('ZADD', waiting, now, id)
redis.call('SADD', 'fb:bedrock:groups', group)
return 'moved'
