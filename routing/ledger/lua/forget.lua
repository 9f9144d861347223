#!lua flags=allow-oom
-- Leave nothing of a job, in any state or only in this one; not the answer that it lent to the
-- cache either. -> 'forgotten' | 'unknown' | the state that it is in instead
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
  local named = key_to(id, job)
  if not ended(job.state) then
    finish(id, job, 'cancelled', 1000, 'error', 'cancelled')
  end
  redis.pcall('ZREM', 'fb:dead:' .. tenant_of(id), id)
  if named then
    redis.call('DEL', named)
  end
  -- The pointer is the job's, but what it names may be anything.
  if type(cached) == 'string' and string.sub(cached, 1, 9) == 'fb:cache:' then
    redis.call('DEL', cached)
  end
  redis.call('DEL', job_key(id), 'fb:content:' .. id, 'fb:answer:' .. id, 'fb:draft:' .. id,
    'fb:cached:' .. id, 'fb:watchers:' .. id)
end

-- Its audit has the same content; a record may name anything as its audit, but that must agree.
local shadow = redis.call('HGET', job_key(id), 'audited_as')
local audit = shadow and tenant_of(shadow) == tenant_of(id) and read(shadow)
forget(id, job)
if audit and audit.audit_of == id then
  forget(shadow, audit)
end
return 'forgotten'
