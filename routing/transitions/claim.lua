#!lua flags=allow-oom
-- The best job waiting in a queue: interactive before bulk (with ageing), a fair share a tenant,
-- the earliest deadline within. -> {id, token, record, content, draft} or nothing
local queue, nonce, lease_ms, max_attempts, retention_ms, ageing_ms, bulk_share = unpack(ARGV)
local MOST = 50 -- jobs that cannot be worked any more are ended here, so many a claim

-- The tenant whose turn it is in a class, and its most urgent job.
local function head(class)
  local turn = 'fb:turn:' .. queue .. ':' .. class
  local tenant = redis.call('ZRANGE', turn, 0, 0)[1]
  if not tenant then
    return nil
  end
  local waiting = 'fb:waiting:' .. queue .. ':' .. class .. ':' .. tenant
  return redis.call('ZRANGE', waiting, 0, 0)[1], tenant
end

-- Bulk that has waited too long gets one claim in so many, however much interactive work there is.
local function choose()
  local interactive, first = head('interactive')
  local bulk, other = head('bulk')
  if not interactive then
    return bulk, 'bulk', other
  end
  if bulk and redis.call('HINCRBY', 'fb:picks', queue, 1) % tonumber(bulk_share) == 0 then
    local queued = redis.call('HGET', job_key(bulk), 'queued')
    if queued and now_ms() - queued > tonumber(ageing_ms) then
      return bulk, 'bulk', other
    end
  end
  return interactive, 'interactive', first
end

-- One job taken costs its tenant one unit of virtual time.
local function take(id, class, tenant)
  local turn = 'fb:turn:' .. queue .. ':' .. class
  redis.call('HSET', 'fb:clock', queue .. ':' .. class, redis.call('ZSCORE', turn, tenant))
  redis.call('ZINCRBY', turn, 1, tenant)
  dequeue(id, queue, class)
end

for _ = 1, MOST do
  local id, class, tenant = choose()
  if not id then
    return nil
  end
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'state', 'queue', 'deadline', 'attempts', 'queued', 'error')
  local now = now_ms()
  take(id, class, tenant)
  if job[1] ~= 'waiting' or job[2] ~= queue then
    -- It moved elsewhere while this entry stayed behind; nothing to work here.
  elseif job[3] ~= '' and tonumber(job[3]) <= now then
    finish(id, 'expired', retention_ms, 'error', 'expired')
  elseif tonumber(job[4]) >= tonumber(max_attempts) then
    finish(id, 'failed', retention_ms, 'error', job[6] or 'engine_died')
  else
    local token = redis.call('HINCRBY', key, 'fence', 1) .. '-' .. nonce
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HINCRBY', key, 'queued_ms', now - job[5])
    redis.call('HSET', key, 'state', 'running', 'token', token, 'started', now)
    redis.call('ZADD', 'fb:leases', now + lease_ms, id)
    return { id, token, redis.call('HGETALL', key), redis.call('GET', 'fb:content:' .. id) or '',
      redis.call('GET', 'fb:draft:' .. id) or '' }
  end
end
return nil
