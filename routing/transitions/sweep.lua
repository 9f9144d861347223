#!lua flags=allow-oom
-- Keep the ledger true: one bounded batch; any number of sweepers may run.
-- -> {leases given back, dead, due again, expired, doorbells rung}
local limit, max_attempts, retention_ms, bell = unpack(ARGV)
local now = now_ms()
local back, dead, due, expired, rung = 0, 0, 0, 0, 0

local function ripe(set)
  return redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, limit)
end

for _, id in ipairs(ripe('fb:deadlines')) do
  local state = redis.call('HGET', job_key(id), 'state')
  if state and not ended(state) then
    finish(id, 'expired', retention_ms, 'error', 'expired')
    expired = expired + 1
  else
    redis.call('ZREM', 'fb:deadlines', id)
  end
end

for _, id in ipairs(ripe('fb:leases')) do
  local job = redis.call('HMGET', job_key(id), 'state', 'queue', 'hop', 'attempts')
  if job[1] ~= 'running' then
    redis.call('ZREM', 'fb:leases', id)
  elseif tonumber(job[4]) >= tonumber(max_attempts) then
    finish(id, 'failed', retention_ms, 'error', 'engine_died')
    dead = dead + 1
  else
    queue_up(id, job[2], job[3], bell)
    back = back + 1
  end
end

for _, id in ipairs(ripe('fb:later')) do
  local job = redis.call('HMGET', job_key(id), 'state', 'queue', 'hop')
  if job[1] == 'waiting' then
    queue_up(id, job[2], job[3], bell)
    due = due + 1
  else
    redis.call('ZREM', 'fb:later', id)
  end
end

-- A doorbell can get lost with the worker that popped it. Rung again is what has been missing at
-- two sweeps in a row; one too many finds nothing waiting and does nothing.
local depths = redis.call('HGETALL', 'fb:depth')
for i = 1, #depths, 2 do
  local queue, depth = depths[i], tonumber(depths[i + 1])
  local missing = math.max(0, depth - redis.call('LLEN', queue))
  local before = tonumber(redis.call('HGET', 'fb:quiet', queue) or 0)
  local last = tonumber(redis.call('HGET', 'fb:quiet', queue .. ' at') or 0)
  if now - last >= 500 then -- several sweepers are no two sweeps
    local rings = math.min(missing, before, tonumber(limit))
    for _ = 1, rings do
      ring(queue, bell)
    end
    rung = rung + rings
    redis.call('HSET', 'fb:quiet', queue, missing - rings, queue .. ' at', now)
  end
end
return { back, dead, due, expired, rung }
