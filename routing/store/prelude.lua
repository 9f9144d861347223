-- The functions that all scripts share. This file is put before each of them.
--
-- A script reads before it writes, so that a key of the wrong type stops it before it has changed
-- anything. Anybody may have written a record: a missing field, or text in place of a number, must
-- do no harm.
--
-- Keys:  fb:job:<id>      hash    the record of a job
--        fb:content:<id>, fb:answer:<id>, fb:draft:<id>  string  request, answer and draft, sealed
--        fb:waiting:<queue>:<class>:<tenant>  zset  job id -> when it is due (us)
--        fb:turn:<queue>:<class>   zset   tenant with waiting jobs -> virtual time served so far
--        fb:clock         hash    <queue>:<class> -> virtual time of the last claim
--                                 <queue>:<class>:since -> ms since when jobs wait there
--        fb:depth         hash    <queue> -> jobs waiting
--        fb:picks         hash    <queue> -> claims that could choose between the classes
--        fb:leases        zset    job id -> ms at which its lease runs out
--        fb:later         zset    job id -> ms at which its retry is due
--        fb:deadlines     zset    job id -> ms at which it expires
--        fb:dead:<tenant> zset    failed job that was not replayed -> ms at which it ended
--        fb:full          string  percentage of memory in use, set by the sweeper while it is short
--        fb:idempotency:<tenant>:<name>  string  '<id> <digest>' of the first job under the key
--        fb:cached:<id>   string  the key of the answer cache that holds the job's answer
--        fb:watchers:<id> set     the streams to which the job's end is written
--        fb:rings         string  doorbells rung so far; numbers them
--        fb:quiet         hash    <queue> -> doorbells missing at the last sweep
--                                 '<queue> at' -> ms of that sweep
--        fb:serving:<queue>  zset  worker -> ms until which it serves the queue
--        <queue>          list    doorbells: Celery messages
local HORIZON_US = 3600 * 1000000 -- a job without a deadline is ordered as if due in an hour
local WATCH_MS = 3600000 -- a client that still waits watches again long before
local STREAM_MS = 600000 -- a stream expires if nothing is written to it for so long
local FIELDS = { 'state', 'queue', 'hop', 'priority', 'token', 'egress', 'reasons', 'idempotency',
  'error', 'replayed_as', 'audit_of', 'attempts', 'created_us', 'queued', 'started', 'queued_ms',
  'worked_ms', 'fence', 'deadline' }
local TEXT_FIELDS = 11 -- the first fields are text, the others numbers

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function job_key(id)
  return 'fb:job:' .. id
end

local function tenant_of(id)
  return string.match(id, '^[^.]*')
end

local function waiting_key(queue, class, id)
  return 'fb:waiting:' .. queue .. ':' .. class .. ':' .. tenant_of(id)
end

-- Return a whole number that a double holds exactly. Anything else is 0, NaN and infinity included.
local function number(text)
  local value = tonumber(text)
  if value and value > -2 ^ 53 and value < 2 ^ 53 then
    return math.floor(value)
  end
  return 0
end

-- Return the record of a job; nil if there is none, or if its key holds something else.
local function read(id)
  local values = redis.pcall('HMGET', job_key(id), unpack(FIELDS))
  if values.err or not values[1] then
    return nil
  end
  local job = {}
  for i, name in ipairs(FIELDS) do
    job[name] = i <= TEXT_FIELDS and (values[i] or '') or number(values[i])
  end
  if job.queue == '' or job.hop == '' then
    job.queue, job.hop = 'route', 'route'
  end
  if job.priority ~= 'bulk' then
    job.priority = 'interactive'
  end
  return job
end

local function ended(state)
  return state == 'done' or state == 'failed' or state == 'cancelled' or state == 'expired'
end

-- Return whether workers can claim from a queue of this name.
local function is_queue(name)
  return name == 'route' or name == 'embed' or name == 'bedrock'
    or string.match(name, '^local%.[a-z0-9][a-z0-9_-]*$') ~= nil
end

-- Return whether a job has not ended, but no index leads to it. Its record was forged or damaged.
local function stranded(id, job)
  return not (ended(job.state) or redis.call('ZSCORE', 'fb:leases', id)
    or redis.call('ZSCORE', 'fb:later', id)
    or is_queue(job.queue) and redis.call('ZSCORE', waiting_key(job.queue, job.priority, id), id))
end

-- Raise an error, before anything is written, if a key that moving a job writes has a wrong type.
local function check_types(id, queue, class)
  redis.call('LLEN', queue)
  redis.call('ZCARD', waiting_key(queue, class, id))
  redis.call('ZCARD', 'fb:turn:' .. queue .. ':' .. class)
  redis.call('HLEN', 'fb:clock')
  redis.call('HLEN', 'fb:depth')
  redis.call('GET', 'fb:rings')
  redis.call('ZCARD', 'fb:leases')
  redis.call('ZCARD', 'fb:later')
  redis.call('ZCARD', 'fb:deadlines')
end

-- Ring the doorbell: push a Celery message onto the queue's list.
local function ring(queue, bell)
  local id = queue .. '.' .. redis.call('INCR', 'fb:rings')
  local words = { ['@RING@'] = id, ['@QUEUE@'] = queue, ['@TASK@'] = string.match(queue, '^[^.]*') }
  redis.call('LPUSH', queue, (string.gsub(bell, '@%u+@', words)))
end

-- Put a job among those that wait. It is ordered by when it was created, not by when it was queued,
-- so a job that is given back keeps its place.
local function enqueue(id, queue, class, deadline, created_us)
  local due = created_us + HORIZON_US
  if deadline > 0 then
    due = math.min(due, deadline * 1000)
  end
  local turn, clock = 'fb:turn:' .. queue .. ':' .. class, queue .. ':' .. class
  if redis.call('EXISTS', turn) == 0 then
    redis.call('HSET', 'fb:clock', clock .. ':since', now_ms())
  end
  redis.call('ZADD', waiting_key(queue, class, id), string.format('%.0f', due), id)
  redis.call('ZADD', turn, 'NX', redis.call('HGET', 'fb:clock', clock) or 0, tenant_of(id))
  redis.call('HINCRBY', 'fb:depth', queue, 1)
end

-- Remove a job from those that wait, if it does.
local function dequeue(id, queue, class)
  local waiting = waiting_key(queue, class, id)
  if redis.call('ZREM', waiting, id) == 1 then
    redis.call('HINCRBY', 'fb:depth', queue, -1)
    if redis.call('EXISTS', waiting) == 0 then
      redis.call('ZREM', 'fb:turn:' .. queue .. ':' .. class, tenant_of(id))
    end
  end
end

-- Write the end of a job to one stream. An error stops no transition: a client looks again anyway.
local function notify(stream, id, state)
  local entry = redis.pcall('XADD', stream, 'MAXLEN', '~', 100000, '*', 'id', id, 'state', state)
  if type(entry) == 'string' then
    redis.call('PEXPIRE', stream, STREAM_MS)
  end
end

-- Write the end of a job to the stream: now if the job has ended, otherwise when it ends.
local function watch(id, stream, state)
  if stream == '' then
    return
  end
  if ended(state) then
    notify(stream, id, state)
  else
    redis.pcall('SADD', 'fb:watchers:' .. id, stream)
    redis.call('PEXPIRE', 'fb:watchers:' .. id, WATCH_MS)
  end
end

-- Write the end of a job to all its watchers.
local function wake(id, state)
  local watchers = 'fb:watchers:' .. id
  for _, stream in ipairs(redis.pcall('SMEMBERS', watchers)) do
    notify(stream, id, state)
  end
  redis.call('DEL', watchers)
end

-- Return the idempotency key of a job if it leads to this job: a forged record may name any key.
local function idempotency_key(id, job)
  local value = job.idempotency ~= '' and redis.pcall('GET', job.idempotency)
  if type(value) == 'string' and string.sub(value, 1, #id + 1) == id .. ' ' then
    return job.idempotency
  end
end

-- Add a job to its tenant's index of dead jobs. The index expires with its last job. An error must
-- not keep the job from ending.
local function index_dead(id, now, retention_ms)
  local dead = 'fb:dead:' .. tenant_of(id)
  redis.pcall('ZADD', dead, now, id)
  redis.pcall('ZREMRANGEBYSCORE', dead, '-inf', '(' .. now - retention_ms)
  redis.call('PEXPIRE', dead, retention_ms)
end

-- End a job; every job ends here. All that it leaves behind expires after `retention_ms`. A failed
-- job that has a draft becomes `done`, with the draft as its answer. An audit leaves no content,
-- because it is neither read nor replayed.
local function finish(id, job, state, retention_ms, ...)
  local key = job_key(id)
  local now = now_ms()
  check_types(id, job.queue, job.priority)
  local repeat_key = idempotency_key(id, job)
  dequeue(id, job.queue, job.priority)
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  redis.call('ZREM', 'fb:deadlines', id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  local draft, audit = 'fb:draft:' .. id, job.audit_of ~= ''
  local promoted = state == 'failed' and not audit and redis.call('EXISTS', draft) == 1
  if promoted then
    state = 'done' -- a draft is better than no answer; a local draft is read as a degraded answer
    redis.call('RENAME', draft, 'fb:answer:' .. id)
    redis.call('PEXPIRE', 'fb:answer:' .. id, retention_ms)
  end
  redis.call('HSET', key, 'state', state, 'ended', now, 'worked_ms', worked, 'token', '',
    'promoted', promoted and '1' or '', ...)
  redis.call('PEXPIRE', key, retention_ms)
  redis.call('DEL', draft)
  if state == 'failed' and not audit then
    redis.call('PEXPIRE', 'fb:content:' .. id, retention_ms) -- kept for a replay
    index_dead(id, now, retention_ms)
  else
    redis.call('DEL', 'fb:content:' .. id)
  end
  if repeat_key then
    redis.call('PEXPIRE', repeat_key, retention_ms)
  end
  wake(id, state)
end

-- Put a job back among those that wait, whatever its hop, and ring for it.
local function queue_up(id, job, queue, hop, bell, ...)
  local now = now_ms()
  check_types(id, queue, job.priority)
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'hop', hop, 'queue', queue, 'queued', now,
    'worked_ms', worked, 'token', '', ...)
  enqueue(id, queue, job.priority, job.deadline, job.created_us)
  ring(queue, bell)
end

-- The fence: return the record if the token still holds the job, otherwise nil or false.
local function held(id, token)
  local job = read(id)
  return job and job.state == 'running' and job.token == token and job
end

-- Return why no new job is accepted: {'full', depth} | {'memory', percent}; false if it is.
local function refusal(queue, max_waiting)
  local depth = number(redis.call('HGET', 'fb:depth', queue))
  if depth >= number(max_waiting) then
    return { 'full', tostring(depth) }
  end
  local used = redis.call('GET', 'fb:full')
  return used and { 'memory', used }
end

-- Return a list of fields (key, value, key, value) as a table.
local function to_table(fields)
  local values = {}
  for i = 1, #fields, 2 do
    values[fields[i]] = fields[i + 1]
  end
  return values
end

-- Create a job and ring for it.
-- `fields`: the fields of its record that its producer gives. `...`: further fields.
local function put_on(id, queue, bell, content, fields, ...)
  local given, created_us = to_table(fields), now_us()
  local now = math.floor(created_us / 1000)
  local class, deadline = given.priority or 'interactive', number(given.deadline)
  check_types(id, queue, class)
  redis.call('HSET', job_key(id), unpack(fields))
  redis.call('HSET', job_key(id), 'state', 'waiting', 'hop', 'route', 'queue', queue, 'token', '',
    'created', now, 'created_us', string.format('%.0f', created_us), 'queued', now, 'queued_ms', 0,
    'worked_ms', 0, 'attempts', 0, 'fence', 0, 'reasons', '', ...)
  redis.call('SET', 'fb:content:' .. id, content)
  if deadline > 0 then
    redis.call('ZADD', 'fb:deadlines', deadline, id)
  end
  enqueue(id, queue, class, deadline, created_us)
  ring(queue, bell)
end
