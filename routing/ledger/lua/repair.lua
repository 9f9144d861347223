#!lua flags=allow-oom
-- Repair what leads to some of the jobs: whoever may write an index that all tenants share can remove
-- or move the entry of another's job. Any number of sweepers may run it; it walks all records in
-- small steps.
-- `counted`: a JSON object, tenant -> bytes of its answers to come, as counted in the steps so far.
-- -> {the cursor of the next step, 0 after the last; jobs repaired; `counted` for the next step}
local cursor, per_step, bell, lease_ms, counted = unpack(ARGV)
counted = cjson.decode(counted)
local repaired, now = 0, now_ms()

-- Return whether the job's entry among the deadlines was missing or another's, and correct it.
local function repair_deadline(id, job)
  if job.deadline <= 0 or number(redis.call('ZSCORE', 'fb:deadlines', id)) == job.deadline then
    return false
  end
  redis.call('ZADD', 'fb:deadlines', job.deadline, id)
  return true
end

-- Return whether an entry that leads to the job was missing, and add it.
local function repair(id, job)
  local changed = repair_deadline(id, job)
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

-- Store the bytes of each tenant's answers to come, now that all records were seen.
local function verify()
  for tenant, bytes in pairs(counted) do
    redis.call('HSET', 'fb:tenants', tenant, string.format('%.0f', bytes))
    redis.call('SET', 'fb:promised:' .. tenant, string.format('%.0f', bytes))
  end
  for _, tenant in ipairs(redis.call('HKEYS', 'fb:tenants')) do
    if not counted[tenant] then
      redis.call('HDEL', 'fb:tenants', tenant)
      redis.call('DEL', 'fb:promised:' .. tenant)
    end
  end
end

local step = redis.call('SCAN', cursor, 'MATCH', 'fb:job:*', 'COUNT', per_step)
for _, key in ipairs(step[2]) do
  local id = string.sub(key, #'fb:job:' + 1)
  local job = is_id(id) and read(id)
  if job and (job.state == 'waiting' or job.state == 'running') then
    local tenant = tenant_of(id)
    counted[tenant] = (counted[tenant] or 0) + answer_bytes_of(job)
    local done, changed = pcall(repair, id, job) -- a key of the wrong type stops this job only
    repaired = repaired + (done and changed and 1 or 0)
  end
end
if step[1] == '0' then
  verify()
end
return { step[1], repaired, cjson.encode(counted) }
