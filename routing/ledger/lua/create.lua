#!lua
-- Create jobs, each together with its doorbell or not at all: in the queue of its lane if that is no
-- question, otherwise before the router. A producer whose user of Redis is confined to its own keys may
-- not read what the routers have published; its jobs go before the router, whose claim moves them.
-- `may_skip` is 0 once a reply has said so, because Redis logs each denial.
-- -> for each job {'created', id} | {'created', id, 'confined'} | {'known', id} (submitted before) |
--    {'conflict', id} (the idempotency key was used for another job) | {'full', depth} |
--    {'memory', percent} | {'promised', bytes} | {'quota', bytes} | {'moved', fleet} | an error
-- Jobs after the first hundred are not created, and have no reply.
-- Each job has its arguments after the first four: id, content, the number of the fields' names and
-- values, these, idempotency key, its digest, watcher. If that number is empty, none of them follows: the
-- job has no key, and the fields and the watcher of the job before.
local queue, bell, max_waiting, may_skip = unpack(ARGV, 1, 4)

-- Return whether there may be a job of this id: Redis is asked about all ids of the batch at once, and an
-- id may come twice.
local any_exists, created = false, {}
local function may_exist(id)
  return any_exists or created[id]
end

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
  local job = may_exist(id) and read(id)
  if job then
    watch(id, watcher, job.state)
    return { 'known', id }
  end
end

local function create(id, content, given, idempotency, digest, watcher)
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
    given = setmetatable({ egress = egress }, { __index = given }) -- other jobs may share the fields
    once('queue ' .. lane, 'SADD', 'fb:queues', lane)
  end
  created[id] = true
  put_on(id, lane or queue, bell, content, given, 'idempotency', idempotency, 'reasons', reasons or '')
  if idempotency ~= '' then
    redis.call('SET', idempotency, id .. ' ' .. digest)
  end
  watch(id, watcher, 'waiting')
  return not lane and egress and { 'created', id, 'confined' } or { 'created', id }
end

local MAX_JOBS = 100 -- more would keep Redis from everybody else for too long

-- Return where the arguments of each job begin and end, and the keys of their records.
local function jobs_of_batch()
  local spans, keys, i = {}, {}, 5
  while i <= #ARGV and #spans < MAX_JOBS do
    local last = i + 2
    if ARGV[last] ~= '' then
      last = last + math.max(0, math.min(number(ARGV[last]), #ARGV)) + 3
    end
    spans[#spans + 1], keys[#keys + 1] = { i, last }, job_key(ARGV[i])
    i = last + 1
  end
  return spans, keys
end

local given, watcher -- of the job before
local function create_from(i, last)
  local idempotency, digest = '', ''
  if last > i + 2 then
    given = nil -- no job after this one takes over those of an earlier one if these cannot be read
    given = given_fields({ unpack(ARGV, i + 3, last - 3) })
    idempotency, digest, watcher = unpack(ARGV, last - 2, last)
  end
  if not given then
    error('fields: must be given for the first job')
  end
  return create(ARGV[i], ARGV[i + 1], given, idempotency, digest, watcher)
end

local function create_at(i, last)
  local made, reply = pcall(create_from, i, last)
  if not made then -- an error stops this job only
    reply = redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))
  end
  return reply
end

return together(function()
  local replies, spans, keys = {}, jobs_of_batch()
  local there = #keys > 0 and redis.pcall('EXISTS', unpack(keys)) or 0
  any_exists = there ~= 0 -- or this user may not ask about some of them
  for i, span in ipairs(spans) do
    replies[i] = create_at(unpack(span))
  end
  return replies
end)
