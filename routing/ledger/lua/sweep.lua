#!lua flags=allow-oom
-- Keep the ledger true: one bounded batch; any number of sweepers may run.
-- -> {leases given back, dead, due again, expired, doorbells rung, percent of memory if it is short}
local limit, max_attempts, retention_ms, bell, memory_limit, full_ms = unpack(ARGV)
local SPARE = 1000 -- doorbells beyond the jobs that wait
local SLACK = 0.05 -- of the memory: full from the limit on, until there is so much less
local now = now_ms()
local back, dead, due, expired, rung = 0, 0, 0, 0, 0

-- Move each job whose time in this set has come. One that cannot be moved, because somebody else's
-- key stands in its way, stops none of the others; it is looked at again in a minute.
local function each(set, move)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, limit)) do
    if not pcall(move, id, read(id)) then
      redis.call('ZADD', set, 'XX', now + 60000, id)
    end
  end
end

each('fb:deadlines', function(id, job)
  if job and not ended(job.state) then
    finish(id, job, 'expired', retention_ms, 'error', 'expired')
    expired = expired + 1
  else
    redis.call('ZREM', 'fb:deadlines', id)
  end
end)

-- Off the set; and ended, if that was the last that led to it.
local function let_go(set, id, job)
  redis.call('ZREM', set, id)
  if job and stranded(id, job) then
    finish(id, job, 'failed', retention_ms, 'error', 'invalid_job')
    dead = dead + 1
  end
end

each('fb:leases', function(id, job)
  if not job or job.state ~= 'running' or not is_queue(job.queue) then
    let_go('fb:leases', id, job)
  elseif job.attempts >= tonumber(max_attempts) then
    finish(id, job, 'failed', retention_ms, 'error', 'engine_died')
    dead = dead + 1
  else
    queue_up(id, job, job.queue, job.hop, bell)
    back = back + 1
  end
end)

each('fb:later', function(id, job)
  if job and job.state == 'waiting' and is_queue(job.queue) then
    queue_up(id, job, job.queue, job.hop, bell)
    due = due + 1
  else
    let_go('fb:later', id, job)
  end
end)

-- A doorbell can get lost with the worker that popped it. Rung again is what has been missing at
-- two sweeps in a row; one too many finds nothing waiting and does nothing.
local function ring_again(queue, depth)
  local bells = redis.call('LLEN', queue)
  local missing = math.max(0, depth - bells)
  local before = number(redis.call('HGET', 'fb:quiet', queue))
  local last = number(redis.call('HGET', 'fb:quiet', queue .. ' at'))
  if now - last >= 500 then -- several sweepers are no two sweeps
    local rings = math.min(missing, before, tonumber(limit))
    for _ = 1, rings do
      ring(queue, bell)
    end
    rung = rung + rings
    redis.call('HSET', 'fb:quiet', queue, missing - rings, queue .. ' at', now)
  end
  if bells > depth + SPARE then -- of jobs that ended before anybody came for them
    redis.call('LTRIM', queue, 0, depth + SPARE - 1)
  end
end

local depths = redis.call('HGETALL', 'fb:depth')
for i = 1, #depths, 2 do
  pcall(ring_again, depths[i], number(depths[i + 1]))
end

-- Too full to take in new jobs, so that those that are here can still end? As Redis itself counts:
-- without the buffers that it does not hold against `maxmemory`.
local function measure()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then
    return 0 -- this user may not ask
  end
  local function field(name)
    return number(string.match(info, '\n' .. name .. ':(%d+)'))
  end
  local most = field('maxmemory')
  local share = most > 0 and (field('used_memory') - field('mem_not_counted_for_evict')) / most or 0
  if share >= memory_limit - (redis.call('EXISTS', 'fb:full') == 1 and SLACK or 0) then
    redis.call('SET', 'fb:full', math.floor(share * 100), 'PX', full_ms)
    return math.floor(share * 100)
  end
  redis.call('DEL', 'fb:full')
  return 0
end

return { back, dead, due, expired, rung, measure() }
