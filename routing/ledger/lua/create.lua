#!lua
-- Create jobs, each together with its doorbell or not at all: in the queue of its lane if that is no
-- question, otherwise before the router. A producer whose user of Redis is confined to its own keys may
-- not read what the routers have published; its jobs go before the router, whose claim moves them.
-- `may_skip` is 0 once a reply has said so, because Redis logs each denial.
-- -> for each job {'created', id} | {'created', id, 'confined'} | {'known', id} (submitted before) |
--    {'conflict', id} (the idempotency key was used for another job) | {'full', depth} |
--    {'memory', percent} | {'promised', bytes} | {'quota', bytes} | {'moved', fleet} | an error
-- Jobs after the first hundred are not created, and have no reply.
-- Each job has its arguments after the first four: id, content, idempotency key, its digest, watcher,
-- the number of the fields' names and values, and these.
local queue, bell, max_waiting, may_skip = unpack(ARGV, 1, 4)

-- Return the reply for a job that exists already, by its idempotency key or by its id.
local function existing(id, idempotency, digest, watcher)
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
  local job = redis.call('EXISTS', job_key(id)) == 1 and read(id)
  if job then
    watch(id, watcher, job.state)
    return { 'known', id }
  end
end

local function create(id, content, idempotency, digest, watcher, fields)
  local given = given_fields(fields)
  check_new(id, queue, bell)
  check_stream(watcher, id)
  if idempotency ~= '' and not owned(idempotency, 'fb:idempotency', id) then
    error('idempotency: must begin with fb:idempotency:<tenant of the job>:')
  end
  local before = existing(id, idempotency, digest, watcher)
  if before then
    return before
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
    once('queue ' .. lane, 'SADD', 'fb:queues', lane)
  end
  put_on(id, lane or queue, bell, content, given, 'idempotency', idempotency, 'reasons', reasons or '')
  if idempotency ~= '' then
    redis.call('SET', idempotency, id .. ' ' .. digest)
  end
  watch(id, watcher, 'waiting')
  return not lane and egress and { 'created', id, 'confined' } or { 'created', id }
end

local MAX_JOBS = 100 -- more would keep Redis from everybody else for too long
local replies, i = {}, 5
while i <= #ARGV and #replies < MAX_JOBS do
  local id, content, idempotency, digest, watcher, count = unpack(ARGV, i, i + 5)
  local last = i + 5 + math.max(0, math.min(number(count), #ARGV))
  local made, reply = pcall(create, id, content, idempotency, digest, watcher, { unpack(ARGV, i + 6, last) })
  if not made then -- an error stops this job only
    reply = redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))
  end
  replies[#replies + 1], i = reply, last + 1
end
return replies
