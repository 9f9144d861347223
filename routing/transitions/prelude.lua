-- Put before every transition: the words they are all made of.
--
-- A script reads before it writes, so that a key of the wrong type stops it before anything changed.
-- Keys:  fb:job:<id>      hash    the record
--        fb:content:<id>  string  the request, sealed     fb:answer:<id>, fb:draft:<id> likewise
--        fb:waiting:<queue>:<class>:<tenant>  zset  id -> when it is due (us), soonest first
--        fb:turn:<queue>:<class>   zset   tenants with waiting jobs -> virtual time served so far
--        fb:clock         hash    <queue>:<class> -> virtual time of the last claim
--        fb:depth         hash    <queue> -> jobs waiting      fb:picks  hash  <queue> -> claims made
--        fb:leases, fb:later, fb:deadlines    zset   id -> ms at which it ends / is due / expires
--        fb:cached:<id>   string  where in the cache the job's answer is kept for others
--        fb:watchers:<id> set     wake-up streams of those who wait for its end
--        <queue>          list    the doorbells: Celery messages
local HORIZON_US = 3600 * 1000000 -- a job without a deadline is ordered as if due in an hour

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

local function waiting_key(queue, class, id)
  return 'fb:waiting:' .. queue .. ':' .. class .. ':' .. string.match(id, '^[^.]*')
end

local function ring(queue, bell)
  local id = queue .. '.' .. redis.call('INCR', 'fb:rings')
  local words = { ['@RING@'] = id, ['@QUEUE@'] = queue, ['@TASK@'] = string.match(queue, '^[^.]*') }
  redis.call('LPUSH', queue, (string.gsub(bell, '@%u+@', words)))
end

local function enqueue(id, queue, class, deadline)
  local due = now_us() + HORIZON_US
  if deadline and deadline ~= '' then
    due = math.min(due, deadline * 1000)
  end
  local turn, clock = 'fb:turn:' .. queue .. ':' .. class, queue .. ':' .. class
  local tenant = string.match(id, '^[^.]*')
  redis.call('ZADD', waiting_key(queue, class, id), string.format('%.0f', due), id)
  redis.call('ZADD', turn, 'NX', redis.call('HGET', 'fb:clock', clock) or 0, tenant)
  redis.call('HINCRBY', 'fb:depth', queue, 1)
end

-- Take a job out of those that wait; it is no error if it does not.
local function dequeue(id, queue, class)
  local waiting = waiting_key(queue, class, id)
  if redis.call('ZREM', waiting, id) == 1 then
    redis.call('HINCRBY', 'fb:depth', queue, -1)
    if redis.call('EXISTS', waiting) == 0 then
      redis.call('ZREM', 'fb:turn:' .. queue .. ':' .. class, string.match(id, '^[^.]*'))
    end
  end
end

local function wake(id, state)
  local watchers = 'fb:watchers:' .. id
  for _, stream in ipairs(redis.call('SMEMBERS', watchers)) do
    redis.call('XADD', stream, 'MAXLEN', '~', 100000, '*', 'id', id, 'state', state)
    redis.call('PEXPIRE', stream, 600000)
  end
  redis.call('DEL', watchers)
end

-- The one way a job ends. What it leaves behind has an end too.
local function finish(id, state, retention_ms, ...)
  local key = job_key(id)
  local old = redis.call('HMGET', key, 'queue', 'priority', 'idempotency', 'state', 'started')
  local now = now_ms()
  dequeue(id, old[1], old[2])
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  redis.call('ZREM', 'fb:deadlines', id)
  if old[4] == 'running' then
    redis.call('HINCRBY', key, 'worked_ms', now - old[5])
  end
  redis.call('HSET', key, 'state', state, 'ended', now, 'token', '', ...)
  redis.call('PEXPIRE', key, retention_ms)
  redis.call('DEL', 'fb:draft:' .. id)
  if state == 'failed' then
    redis.call('PEXPIRE', 'fb:content:' .. id, retention_ms) -- kept for a replay
  else
    redis.call('DEL', 'fb:content:' .. id)
  end
  if old[3] and old[3] ~= '' then
    redis.call('PEXPIRE', old[3], retention_ms)
  end
  wake(id, state)
end

-- Put a job back among those that wait, from whatever hop it is in, and ring for it.
local function queue_up(id, queue, hop, bell, ...)
  local key = job_key(id)
  local old = redis.call('HMGET', key, 'priority', 'deadline', 'state', 'started')
  local now = now_ms()
  redis.call('LLEN', queue)
  redis.call('ZREM', 'fb:leases', id)
  redis.call('ZREM', 'fb:later', id)
  if old[3] == 'running' then
    redis.call('HINCRBY', key, 'worked_ms', now - old[4])
  end
  redis.call('HSET', key, 'state', 'waiting', 'hop', hop, 'queue', queue, 'queued', now, 'token', '', ...)
  enqueue(id, queue, old[1], old[2])
  ring(queue, bell)
end

-- Does this claim still hold the job?
local function holds(id, token)
  local held = redis.call('HMGET', job_key(id), 'state', 'token')
  return held[1] == 'running' and held[2] == token
end

local function ended(state)
  return state == 'done' or state == 'failed' or state == 'cancelled' or state == 'expired'
end
