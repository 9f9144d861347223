#!lua
-- Create a job and its doorbell, together or not at all: in the queue of its lane if that is no
-- question, otherwise before the router. A producer whose user of Redis is confined to its own keys may
-- not read what the routers have published; its jobs go before the router, whose claim moves them.
-- `may_skip` is 0 once a reply has said so: Redis logs each denial.
-- -> {'created', id} | {'created', id, 'confined'} | {'known', id} (submitted before) | {'conflict', id} (the idempotency key was
--    used for another job) | {'full', depth} | {'memory', percent} | {'promised', bytes} |
--    {'quota', bytes}
local id, queue, bell, content, idempotency, digest, watcher, max_waiting, may_skip = unpack(ARGV, 1, 9)
local given = given_fields({ unpack(ARGV, 10) })
check_new(id, queue)
check_stream(watcher, id)
if idempotency ~= '' and not owned(idempotency, 'fb:idempotency', id) then
  error('idempotency: must begin with fb:idempotency:<tenant of the job>:')
end

if idempotency ~= '' then
  local first, first_digest = string.match(redis.call('GET', idempotency) or '', '^(%S+) (%S+)$')
  local job = first and same_tenant(id, first) and read(first)
  if first and first_digest ~= digest then
    return { 'conflict', first }
  elseif job then
    watch(first, watcher, job.state)
    return { 'known', first }
  end
end
local existing = read(id)
if existing then
  watch(id, watcher, existing.state)
  return { 'known', id }
end
local lane, egress, reasons
if may_skip == '1' then
  lane, egress, reasons = direct(id, given)
end
local refused = refusal(id, lane or queue, max_waiting, given.answer_bytes)
if refused then
  return refused
end
if lane then
  given.egress = egress
  redis.call('SADD', 'fb:queues', lane)
end
put_on(id, lane or queue, bell, content, given, 'idempotency', idempotency, 'reasons', reasons or '')
if idempotency ~= '' then
  redis.call('SET', idempotency, id .. ' ' .. digest)
end
watch(id, watcher, 'waiting')
return not lane and egress and { 'created', id, 'confined' } or { 'created', id }
