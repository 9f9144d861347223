#!lua
-- Repeat a dead job as a new job that is linked to it. A second call finds the first call's job.
-- -> {'created', id} | {'replayed', id, state} (by an earlier call) | {'unknown'} |
--    {'alive', state} (the job is not dead) | {'egress_denied'} | {'past'} (the deadline) |
--    {'full', depth} | {'memory', percent} | {'promised', bytes} | {'quota', bytes} |
--    {'moved', fleet}
local old, id, queue, bell, content, max_waiting = unpack(ARGV, 1, 6)
local given = given_fields({ unpack(ARGV, 7) })
check_new(id, queue, bell)
if not same_tenant(id, old) then
  return { 'unknown' }
end
local job = read(old)
if not job then
  return { 'unknown' }
elseif job.state ~= 'failed' then
  return { 'alive', job.state }
end
-- An earlier replay that was cancelled, has expired or is forgotten does not count.
local last = same_tenant(old, job.replayed_as) and read(job.replayed_as)
if last and last.state ~= 'cancelled' and last.state ~= 'expired' then
  return { 'replayed', job.replayed_as, last.state }
end
if given.egress ~= 'deny' and job.egress ~= 'allow' then
  return { 'egress_denied' }
elseif given.deadline ~= '' and number(given.deadline) <= now_ms() then
  return { 'past' }
end
local refused = refusal(id, queue, max_waiting, given.answer_bytes)
if refused then
  return refused
end
put_on(id, queue, bell, content, given, 'replay_of', old)
redis.call('HSET', job_key(old), 'replayed_as', id)
redis.pcall('ZREM', 'fb:dead:' .. tenant_of(old), old)
return { 'created', id }
