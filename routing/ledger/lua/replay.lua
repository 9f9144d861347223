#!lua
-- A dead job begins again as a new one, linked to it; once, however often it is asked for.
-- -> {'created', id} | {'replayed', id, its state} | {'unknown'} | {'alive', state} |
--    {'egress_denied'} | {'past'} (its deadline) | {'full', depth} | {'memory', percent}
local old, id, queue, bell, content, max_waiting = unpack(ARGV, 1, 6)
local fields = { unpack(ARGV, 7) }
local given = named(fields)
local job = read(old)
if not job then
  return { 'unknown' }
elseif job.state ~= 'failed' then
  return { 'alive', job.state }
end
-- One that was cancelled, has expired or is forgotten is no reason not to try once more.
local last = job.replayed_as ~= '' and read(job.replayed_as)
if last and last.state ~= 'cancelled' and last.state ~= 'expired' then
  return { 'replayed', job.replayed_as, last.state }
end
if given.egress ~= 'deny' and job.egress ~= 'allow' then
  return { 'egress_denied' }
elseif given.deadline ~= '' and number(given.deadline) <= now_ms() then
  return { 'past' }
end
local refused = refusal(queue, max_waiting)
if refused then
  return refused
end
put_on(id, queue, bell, content, fields, 'replay_of', old)
redis.call('HSET', job_key(old), 'replayed_as', id)
redis.pcall('ZREM', 'fb:dead:' .. tenant_of(old), old)
return { 'created', id }
