#!lua flags=allow-oom
-- Remove all that is stored of a job and of its audit, its answer in the cache included.
-- `only`: the state that the job must be in; empty for any.
-- -> 'forgotten' | 'unknown' | the state of the job, if it is another
local id, only = unpack(ARGV)
local job = read(id)
if not job then
  return 'unknown'
end
if only ~= '' and job.state ~= only then
  return job.state
end

local function forget(id, job)
  local cached = redis.pcall('GET', 'fb:cached:' .. id)
  local repeat_key = idempotency_key(id, job)
  if not ended(job.state) then
    finish(id, job, 'cancelled', 1000, 'error', 'cancelled')
  end
  redis.pcall('ZREM', 'fb:dead:' .. tenant_of(id), id)
  if repeat_key then
    redis.call('DEL', repeat_key)
  end
  -- A forged pointer may name any key; delete keys of the tenant's cache alone.
  if type(cached) == 'string' and owned(cached, 'fb:cache', id) then
    redis.call('DEL', cached)
  end
  redis.call('DEL', job_key(id), 'fb:content:' .. id, 'fb:answer:' .. id, 'fb:draft:' .. id,
    'fb:cached:' .. id, 'fb:asked:' .. id, 'fb:watchers:' .. id, 'fb:stream:' .. tenant_of(id) .. ':' .. id)
  account('held', id, -math.max(0, job.bytes))
end

-- The audit has the same content. A forged record may name any job, so the audit must name this one
-- in turn.
local shadow = redis.call('HGET', job_key(id), 'audited_as')
local audit = shadow and same_tenant(id, shadow) and read(shadow)
forget(id, job)
if audit and audit.audit_of == id then
  forget(shadow, audit)
end
return 'forgotten'
