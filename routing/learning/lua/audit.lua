#!lua
-- Create the audit of a kept local answer: a shadow of its job, linked to it. The shadow is a job like
-- any other, but gives no answer to anybody and leaves no content behind.
-- -> {'created', id} | {'known', id} the audit exists already
--    {'unkept'} the answer is gone, or may not leave | {'full', depth} | {'memory', percent} |
--    {'promised', bytes} | {'quota', bytes} |
--    {'moved', fleet}
local audited, id, queue, bell, content, max_waiting = unpack(ARGV, 1, 6)
local given = given_fields({ unpack(ARGV, 7) })
check_new(id, queue, bell)
local job = read(audited)
if not job or not same_tenant(id, audited) or job.state ~= 'done' or job.egress ~= 'allow' or job.audit_of ~= '' then
  return { 'unkept' }
end
if read(id) then
  return { 'known', id }
end
local refused = refusal(id, queue, max_waiting, given.answer_bytes)
if refused then
  return refused
end
put_on(id, queue, bell, content, given, 'audit_of', audited)
redis.call('HSET', job_key(audited), 'audited_as', id)
return { 'created', id }
