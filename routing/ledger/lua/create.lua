#!lua
-- Create a job and its doorbell, together or not at all.
-- -> {'created', id} | {'known', id} (submitted before) | {'conflict', id} (the idempotency key was
--    used for another job) | {'full', depth} | {'memory', percent} | {'promised', bytes} |
--    {'quota', bytes}
local id, queue, bell, content, idempotency, digest, watcher, max_waiting = unpack(ARGV, 1, 8)
local given = given_fields({ unpack(ARGV, 9) })
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
local refused = refusal(id, queue, max_waiting, given.answer_bytes)
if refused then
  return refused
end
put_on(id, queue, bell, content, given, 'idempotency', idempotency)
if idempotency ~= '' then
  redis.call('SET', idempotency, id .. ' ' .. digest)
end
watch(id, watcher, 'waiting')
return { 'created', id }
