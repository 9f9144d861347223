#!lua flags=allow-oom
-- The best job waiting in a queue: interactive before bulk (with ageing), a fair share a tenant,
-- the earliest deadline within. -> {id, token, record, content, draft} or nothing
-- `unrung` is 1 where no doorbell called the worker: the job's own is taken from the list with it.
local queue, nonce, lease_ms, max_attempts, retention_ms, ageing_ms, bulk_share, unrung = unpack(ARGV)
local MOST = 50 -- jobs that cannot be worked any more are ended here, so many a claim

-- The tenant whose turn it is in a class, and its most urgent job.
local function head(class)
  local turn = 'fb:turn:' .. queue .. ':' .. class
  for _ = 1, MOST do
    local tenant = redis.call('ZRANGE', turn, 0, 0)[1]
    if not tenant then
      return nil
    end
    local first = redis.pcall('ZRANGE', 'fb:waiting:' .. queue .. ':' .. class .. ':' .. tenant, 0, 0)
    if first[1] then
      return first[1], tenant
    end
    redis.call('ZREM', turn, tenant) -- nothing of its waits, or its key is no queue
  end
end

-- Once bulk work has waited too long it gets one claim in so many, however much interactive work
-- there is, until none of it waits.
local function choose()
  local interactive, first = head('interactive')
  local bulk, other = head('bulk')
  if not interactive then
    return bulk, 'bulk', other
  end
  if bulk and redis.call('HINCRBY', 'fb:picks', queue, 1) % tonumber(bulk_share) == 0 then
    local since = number(redis.call('HGET', 'fb:clock', queue .. ':bulk:since'))
    if now_ms() - since > tonumber(ageing_ms) then
      return bulk, 'bulk', other
    end
  end
  return interactive, 'interactive', first
end

-- One job taken costs its tenant one unit of virtual time. A tenant whose line is empty leaves, and
-- comes back at the clock; so that it comes back after what it was served, the clock moves there.
local function take(id, class, tenant)
  local turn, clock = 'fb:turn:' .. queue .. ':' .. class, queue .. ':' .. class
  sound(id, queue, class)
  local served = number(redis.call('ZINCRBY', turn, 1, tenant))
  dequeue(id, queue, class)
  if redis.call('ZSCORE', turn, tenant) then
    served = served - 1
  end
  local now = number(redis.call('HGET', 'fb:clock', clock))
  redis.call('HSET', 'fb:clock', clock, math.max(now, served))
end

local function text(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end

for _ = 1, MOST do
  local id, class, tenant = choose()
  if not id then
    return nil
  end
  local job = read(id)
  local now = now_ms()
  take(id, class, tenant)
  if not job or job.state ~= 'waiting' or job.queue ~= queue then
    -- It moved elsewhere while this entry stayed behind; nothing to work here.
    if job and stranded(id, job) then
      finish(id, job, 'failed', retention_ms, 'error', 'invalid_job')
    end
  elseif job.deadline > 0 and job.deadline <= now then
    finish(id, job, 'expired', retention_ms, 'error', 'expired')
  elseif job.attempts >= tonumber(max_attempts) then
    finish(id, job, 'failed', retention_ms, 'error', job.error ~= '' and job.error or 'engine_died')
  else
    local key, fence = job_key(id), job.fence + 1
    local token = string.format('%.0f', fence) .. '-' .. nonce
    redis.call('HSET', key, 'state', 'running', 'token', token, 'started', now, 'fence', fence,
      'attempts', job.attempts + 1, 'queued_ms', job.queued_ms + now - job.queued)
    redis.call('ZADD', 'fb:leases', now + lease_ms, id)
    if unrung == '1' then
      redis.call('RPOP', queue)
    end
    return { id, token, redis.call('HGETALL', key), text('fb:content:' .. id), text('fb:draft:' .. id) }
  end
end
return nil
