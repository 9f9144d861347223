#!lua flags=allow-oom
-- Repair what leads to some of the jobs: whoever may write an index that all tenants share can remove
-- or move the entry of another's job. Any number of sweepers may run it; it walks all records in
-- small steps.
-- `counted`: a JSON object, tenant -> [bytes of its answers to come, bytes that its jobs take], as
-- counted in the steps so far.
-- -> {the cursor of the next step, 0 after the last; jobs repaired; `counted` for the next step}
local cursor, per_step, bell, lease_ms, counted = unpack(ARGV)
counted = cjson.decode(counted)
local repaired, now = 0, now_ms()
local MAX_LEASES = 60 -- in a row, as long as no lease of any worker's settings

-- Return whether the job's entry among the deadlines was missing or another's, and correct it.
local function repair_deadline(id, job)
  local key = deadlines_key(tenant_of(id))
  if job.deadline <= 0 or number(redis.call('ZSCORE', key, id)) == job.deadline then
    return false
  end
  redis.call('ZADD', key, job.deadline, id)
  return true
end

-- Return whether the lease of a running job ends too far ahead, and shorten it. It was given before
-- Redis' clock was set back. A worker that is alive renews it.
local function repair_lease(id, job)
  local lease = job.state == 'running' and number(redis.call('ZSCORE', 'fb:leases', id) or 0) or 0
  if lease <= now + MAX_LEASES * lease_ms then
    return false
  end
  redis.call('ZADD', 'fb:leases', now + lease_ms, id)
  return true
end

-- Return whether a job waits for its retry since a time that lies ahead, and have it wait as long from now
-- on. Redis' clock was set back.
local function repair_retry(id, job)
  local due = job.state == 'waiting' and job.queued > now and redis.call('ZSCORE', 'fb:later', id)
  if not due then
    return false
  end
  redis.call('HSET', job_key(id), 'queued', now)
  redis.call('ZADD', 'fb:later', now + math.max(0, number(due) - job.queued), id)
  return true
end

-- Return whether an entry that leads to the job was missing or wrong, and correct it.
local function repair(id, job)
  local changed = repair_deadline(id, job)
  changed = repair_lease(id, job) or changed
  changed = repair_retry(id, job) or changed
  if not stranded(id, job) then
    if job.state == 'waiting' and redis.call('ZSCORE', waiting_key(job.queue, job.priority, id), id) then
      redis.call('SADD', 'fb:newcomers:' .. job.queue .. ':' .. job.priority, tenant_of(id))
      redis.call('SADD', 'fb:queues', job.queue)
    end
    return changed
  elseif job.state == 'running' then
    redis.call('ZADD', 'fb:leases', 'NX', now + lease_ms, id) -- its worker may be at work
  else
    queue_up(id, job, home(job), bell)
  end
  return true
end

-- Store a count of a tenant; 0 is no key.
local function set_count(name, tenant, bytes)
  local key = 'fb:' .. name .. ':' .. tenant
  if bytes > 0 then
    redis.call('SET', key, string.format('%.0f', bytes))
  else
    redis.call('DEL', key)
  end
end

-- Store the counts of each tenant, now that all records were seen.
local function verify()
  for tenant, bytes in pairs(counted) do
    redis.call('HSET', 'fb:tenants', tenant, string.format('%.0f', bytes[1]))
  end
  for _, tenant in ipairs(redis.call('HKEYS', 'fb:tenants')) do
    local bytes = counted[tenant] or { 0, 0 }
    set_count('promised', tenant, bytes[1])
    set_count('held', tenant, bytes[2])
    if not counted[tenant] then
      redis.call('HDEL', 'fb:tenants', tenant)
    end
  end
end

-- Count what a job takes, and repair what leads to it.
local function look_at(id, key)
  local job = is_id(id) and (is_too_large(key) and read_large or read)(id)
  if not job then
    return
  end
  local bytes = counted[tenant_of(id)] or { 0, 0 }
  counted[tenant_of(id)] = { bytes[1], bytes[2] + math.max(0, job.bytes) }
  if job.state == 'waiting' or job.state == 'running' then
    counted[tenant_of(id)][1] = bytes[1] + answer_bytes_of(job)
    local done, changed = pcall(repair, id, job) -- a key of the wrong type stops this job only
    repaired = repaired + (done and changed and 1 or 0)
  end
end

-- A tenant has counts as soon as it puts a job on, and is known once a worker or a sweep has seen the job.
-- So the counts of jobs that ended before lead to their tenant, lest they stay after the jobs have gone.
local step = redis.call('SCAN', cursor, 'MATCH', 'fb:[jhp]*', 'COUNT', per_step)
for _, key in ipairs(step[2]) do
  local family, name = string.match(key, '^fb:(%l+):(.+)$')
  if family == 'job' then
    look_at(name, key)
  elseif family == 'held' or family == 'promised' then
    redis.call('HSETNX', 'fb:tenants', name, 0)
  end
end
if step[1] == '0' then
  verify()
end
return { step[1], repaired, cjson.encode(counted) }
