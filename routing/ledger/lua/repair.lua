#!lua flags=allow-oom
-- Repair what leads to some of the jobs: whoever may write an index that all tenants share can remove
-- the entry of another's job. Any number of sweepers may run it; it walks all records in small steps.
-- `promised`: bytes of the answers to come, as counted in the steps so far.
-- -> {the cursor of the next step, 0 after the last; jobs repaired; bytes counted so far}
local cursor, per_step, bell, lease_ms, promised = unpack(ARGV)
promised = number(promised)
local repaired, now = 0, now_ms()

-- Return whether an entry that leads to the job was missing, and add it.
local function repair(id, job)
  local changed = false
  if job.deadline > 0 and not redis.call('ZSCORE', 'fb:deadlines', id) then
    redis.call('ZADD', 'fb:deadlines', job.deadline, id)
    changed = true
  end
  if not stranded(id, job) then
    if job.state == 'waiting' and redis.call('ZSCORE', waiting_key(job.queue, job.priority, id), id) then
      redis.call('SADD', 'fb:newcomers:' .. job.queue .. ':' .. job.priority, tenant_of(id))
    end
  elseif job.state == 'running' then
    redis.call('ZADD', 'fb:leases', 'NX', now + lease_ms, id) -- its worker may be at work
    changed = true
  else
    queue_up(id, job, job.queue, bell)
    changed = true
  end
  return changed
end

local step = redis.call('SCAN', cursor, 'MATCH', 'fb:job:*', 'COUNT', per_step)
for _, key in ipairs(step[2]) do
  local id = string.sub(key, #'fb:job:' + 1)
  local job = is_id(id) and read(id)
  if job and not ended(job.state) and (job.state == 'waiting' or job.state == 'running') then
    promised = promised + math.max(0, math.min(job.answer_bytes, MAX_ANSWER_BYTES))
    local done, changed = pcall(repair, id, job) -- a key of the wrong type stops this job only
    repaired = repaired + (done and changed and 1 or 0)
  end
end
if step[1] == '0' then
  redis.call('SET', 'fb:promised', string.format('%.0f', promised))
end
return { step[1], repaired, string.format('%.0f', promised) }
