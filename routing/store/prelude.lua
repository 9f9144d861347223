-- Put before every transition: the words they are all made of.
--
-- A script reads before it writes, so that a key of the wrong type stops it before anything changed.
-- Records are read as if anybody had written them: what is missing or no number becomes harmless.
-- Keys:  fb:job:<id>      hash    the record
--        fb:content:<id>  string  the request, sealed     fb:answer:<id>, fb:draft:<id> likewise
--        fb:waiting:<queue>:<class>:<tenant>  zset  id -> when it is due (us), soonest first
--        fb:turn:<queue>:<class>   zset   tenants with waiting jobs -> virtual time served so far
--        fb:clock         hash    <queue>:<class> -> virtual time of the last claim
--                                 <queue>:<class>:since -> ms since when somebody waits there
--        fb:depth         hash    <queue> -> jobs waiting      fb:picks  hash  <queue> -> claims made
--        fb:leases, fb:later, fb:deadlines    zset   id -> ms at which it ends / is due / expires
--        fb:dead:<tenant> zset    failed jobs that were not replayed -> ms at which they ended
--        fb:full          string  there while memory runs short: percent used; written by the sweeper
--        fb:idempotency:<tenant>:<name>  string  '<id> <digest>' of the job first submitted under it
--        fb:cached:<id>   string  where in the cache the job's answer is kept for others
--        fb:watchers:<id> set     wake-up streams of those who wait for its end
--        <queue>          list    the doorbells: Celery messages
local HORIZON_US = 3600 * 1000000 -- a job without a deadline is ordered as if due in an hour
local WATCH_MS = 3600000 -- who still waits asks again long before
local STREAM_MS = 600000
local FIELDS = { 'state', 'queue', 'hop', 'priority', 'token', 'egress', 'reasons', 'idempotency',
  'error', 'replayed_as', 'audit_of', 'attempts', 'created_us', 'queued', 'started', 'queued_ms',
  'worked_ms', 'fence', 'deadline' }
local WORDS = 11 -- so many of them are words; the others are numbers

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

-- A whole number that a double holds; anything else counts as 0, NaN and infinity included.
local function number(text)
  local value = tonumber(text)
  if value and value > -2 ^ 53 and value < 2 ^ 53 then
    return math.floor(value)
  end
  return 0
end

-- The record of a job; nothing where there is none, or something else under its key.
local function read(id)
  local values = redis.pcall('HMGET', job_key(id), unpack(FIELDS))
  if values.err or not values[1] then
    return nil
  end
  local job = {}
  for i, name in ipairs(FIELDS) do
    job[name] = i <= WORDS and (values[i] or '') or number(values[i])
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

-- Is this a queue that can be claimed from?
local function is_queue(name)
  return name == 'route' or name == 'embed' or name == 'bedrock'
    or string.match(name, '^local%.[a-z0-9][a-z0-9_-]*$') ~= nil
end

-- Would nobody ever come upon this job again? Then somebody else wrote its record.
local function stranded(id, job)
  return not (ended(job.state) or redis.call('ZSCORE', 'fb:leases', id)
    or redis.call('ZSCORE', 'fb:later', id)
    or is_queue(job.queue) and redis.call('ZSCORE', waiting_key(job.queue, job.priority, id), id))
end

-- Stop here, before anything is written, if a key that a move of this job writes has a wrong type.
local function sound(id, queue, class)
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

local function ring(queue, bell)
  local id = queue .. '.' .. redis.call('INCR', 'fb:rings')
  local words = { ['@RING@'] = id, ['@QUEUE@'] = queue, ['@TASK@'] = string.match(queue, '^[^.]*') }
  redis.call('LPUSH', queue, (string.gsub(bell, '@%u+@', words)))
end

-- In the order in which jobs came into the world: one that is given back keeps its place.
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

-- Take a job out of those that wait; it is no error if it does not.
local function dequeue(id, queue, class)
  local waiting = waiting_key(queue, class, id)
  if redis.call('ZREM', waiting, id) == 1 then
    redis.call('HINCRBY', 'fb:depth', queue, -1)
    if redis.call('EXISTS', waiting) == 0 then
      redis.call('ZREM', 'fb:turn:' .. queue .. ':' .. class, tenant_of(id))
    end
  end
end

-- Tell one stream, or remember to. Neither can stop a transition: who waits looks again anyway.
local function tell(stream, id, state)
  local told = redis.pcall('XADD', stream, 'MAXLEN', '~', 100000, '*', 'id', id, 'state', state)
  if type(told) == 'string' then
    redis.call('PEXPIRE', stream, STREAM_MS)
  end
end

local function watch(id, stream, state)
  if stream == '' then
    return
  end
  if ended(state) then
    tell(stream, id, state)
  else
    redis.pcall('SADD', 'fb:watchers:' .. id, stream)
    redis.call('PEXPIRE', 'fb:watchers:' .. id, WATCH_MS)
  end
end

local function wake(id, state)
  local watchers = 'fb:watchers:' .. id
  for _, stream in ipairs(redis.pcall('SMEMBERS', watchers)) do
    tell(stream, id, state)
  end
  redis.call('DEL', watchers)
end

-- The idempotency key that leads to this job, and no other key that a record may name.
local function key_to(id, job)
  local known = job.idempotency ~= '' and redis.pcall('GET', job.idempotency)
  if type(known) == 'string' and string.sub(known, 1, #id + 1) == id .. ' ' then
    return job.idempotency
  end
end

-- The dead of a tenant: an index, so nobody's end depends on it; it ends with the last of them.
local function bury_later(id, now, retention_ms)
  local dead = 'fb:dead:' .. tenant_of(id)
  redis.pcall('ZADD', dead, now, id)
  redis.pcall('ZREMRANGEBYSCORE', dead, '-inf', '(' .. now - retention_ms)
  redis.call('PEXPIRE', dead, retention_ms)
end

-- The one way a job ends. What it leaves behind has an end too. An audit leaves no content: nobody
-- waits for an answer of it, and nobody tries it again.
local function finish(id, job, state, retention_ms, ...)
  local key = job_key(id)
  local now = now_ms()
  sound(id, job.queue, job.priority)
  local named = key_to(id, job)
  dequeue(id, job.queue, job.priority)
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  redis.call('ZREM', 'fb:deadlines', id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  local draft, audit = 'fb:draft:' .. id, job.audit_of ~= ''
  local promoted = state == 'failed' and not audit and redis.call('EXISTS', draft) == 1
  if promoted then
    state = 'done' -- better than nothing: the answer that was not good enough, marked as degraded
    redis.call('RENAME', draft, 'fb:answer:' .. id)
    redis.call('PEXPIRE', 'fb:answer:' .. id, retention_ms)
  end
  redis.call('HSET', key, 'state', state, 'ended', now, 'worked_ms', worked, 'token', '',
    'promoted', promoted and '1' or '', ...)
  redis.call('PEXPIRE', key, retention_ms)
  redis.call('DEL', draft)
  if state == 'failed' and not audit then
    redis.call('PEXPIRE', 'fb:content:' .. id, retention_ms) -- kept for a replay
    bury_later(id, now, retention_ms)
  else
    redis.call('DEL', 'fb:content:' .. id)
  end
  if named then
    redis.call('PEXPIRE', named, retention_ms)
  end
  wake(id, state)
end

-- Put a job back among those that wait, from whatever hop it is in, and ring for it.
local function queue_up(id, job, queue, hop, bell, ...)
  local now = now_ms()
  sound(id, queue, job.priority)
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'hop', hop, 'queue', queue, 'queued', now,
    'worked_ms', worked, 'token', '', ...)
  enqueue(id, queue, job.priority, job.deadline, job.created_us)
  ring(queue, bell)
end

-- The record, if this claim still holds the job.
local function held(id, token)
  local job = read(id)
  return job and job.state == 'running' and job.token == token and job
end

-- Why no new job is taken in now; nothing where it is. -> {'full', depth} | {'memory', percent}
local function refusal(queue, max_waiting)
  local depth = number(redis.call('HGET', 'fb:depth', queue))
  if depth >= number(max_waiting) then
    return { 'full', tostring(depth) }
  end
  local used = redis.call('GET', 'fb:full')
  return used and { 'memory', used }
end

-- The fields of a record, given as a list: key, value, key, value.
local function named(fields)
  local values = {}
  for i = 1, #fields, 2 do
    values[fields[i]] = fields[i + 1]
  end
  return values
end

-- Bring a job and its doorbell into the world; `fields` are those of its record that its maker knows.
local function put_on(id, queue, bell, content, fields, ...)
  local given, created_us = named(fields), now_us()
  local now = math.floor(created_us / 1000)
  local class, deadline = given.priority or 'interactive', number(given.deadline)
  sound(id, queue, class)
  redis.call('HSET', job_key(id), unpack(fields))
  redis.call('HSET', job_key(id), 'state', 'waiting', 'hop', 'route', 'queue', queue, 'created', now,
    'created_us', string.format('%.0f', created_us), 'queued', now, 'queued_ms', 0, 'worked_ms', 0, 'attempts', 0, 'fence', 0, 'token', '',
    'reasons', '', ...)
  redis.call('SET', 'fb:content:' .. id, content)
  if deadline > 0 then
    redis.call('ZADD', 'fb:deadlines', deadline, id)
  end
  enqueue(id, queue, class, deadline, created_us)
  ring(queue, bell)
end
