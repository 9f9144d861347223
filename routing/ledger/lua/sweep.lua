#!lua flags=allow-oom
-- Do one bounded batch of upkeep; any number of sweepers may run.
-- -> {jobs given back, dead, due, expired, doorbells rung, percentage of memory used if it is short,
--     the ids of the jobs that were given back, are dead, have expired or were cancelled}
local limit, max_attempts, retention_ms, bell, memory_limit, full_ms = unpack(ARGV)
local MAX_SPARE_BELLS = 1000 -- doorbells beyond the number of jobs that wait
local SLACK = 0.05 -- once full, until memory in use is this share of maxmemory below the limit
local MIN_SWEEP_GAP_MS = 500 -- sweeps of several sweepers within this time count as one
local POSTPONED_MS = 60000
local RECOVERED_MS = 2 * 3600000 -- for so long the number of recovered leases is known
local now = now_ms()
local back, dead, due, expired, rung, moved = 0, 0, 0, 0, 0, {}

-- Call `move` for each job whose time in this set has come. A job that cannot be moved, because a
-- key of the wrong type is in the way, does not stop the others; it is tried again in a minute.
local function each(set, move)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, limit)) do
    if not pcall(move, id, read(id)) then
      redis.call('ZADD', set, 'XX', now + POSTPONED_MS, id)
    end
  end
end

each('fb:deadlines', function(id, job)
  if job and not ended(job.state) and job.deadline > now then -- the entry was forged
    redis.call('ZADD', 'fb:deadlines', job.deadline, id)
  elseif job and not ended(job.state) and job.deadline > 0 then
    finish(id, job, 'expired', retention_ms, 'error', 'expired')
    expired = expired + 1
    moved[#moved + 1] = id
  else
    redis.call('ZREM', 'fb:deadlines', id)
  end
end)

-- Remove a job from the set, and end it if nothing else leads to it.
local function let_go(set, id, job)
  redis.call('ZREM', set, id)
  if job and stranded(id, job) then
    finish(id, job, 'failed', retention_ms, 'error', 'invalid_job')
    dead = dead + 1
    moved[#moved + 1] = id
  end
end

each('fb:leases', function(id, job)
  if not job or job.state ~= 'running' then
    let_go('fb:leases', id, job)
  elseif job.attempts >= tonumber(max_attempts) then
    finish(id, job, 'failed', retention_ms, 'error', 'engine_died')
    dead = dead + 1
    moved[#moved + 1] = id
  else
    queue_up(id, job, job.queue, bell)
    back = back + 1
    moved[#moved + 1] = id
  end
end)

each('fb:later', function(id, job)
  if job and job.state == 'waiting' then
    queue_up(id, job, job.queue, bell)
    due = due + 1
  else
    let_go('fb:later', id, job)
  end
end)

-- Ring for doorbells that were missing at two sweeps in a row: a doorbell can get lost with the
-- worker that popped it. A doorbell too many finds no job waiting and does nothing.
local function ring_again(queue, depth)
  local bells = redis.call('LLEN', queue)
  local missing = math.max(0, depth - bells)
  local missing_before = number(redis.call('HGET', 'fb:quiet', queue))
  local last = number(redis.call('HGET', 'fb:quiet', queue .. ' at'))
  if now - last >= MIN_SWEEP_GAP_MS then
    local rings = math.min(missing, missing_before, tonumber(limit))
    for _ = 1, rings do
      ring(queue, bell)
    end
    rung = rung + rings
    redis.call('HSET', 'fb:quiet', queue, missing - rings, queue .. ' at', now)
  end
  if bells > depth + MAX_SPARE_BELLS then -- left by jobs that ended before a worker came for them
    redis.call('LTRIM', queue, 0, depth + MAX_SPARE_BELLS - 1)
  end
end

-- Count the jobs that wait in a queue. Producers move the stored count as well, so it may be wrong.
-- Return how many of them workers may take: doorbells of paused jobs would find nothing.
local paused = paused_scopes()
local function recount(queue)
  local depth, held = 0, 0
  for _, class in ipairs({ 'interactive', 'bulk' }) do
    admit(queue, class)
    local place = queue .. ':' .. class
    for _, tenant in ipairs(redis.call('ZRANGE', 'fb:turn:' .. place, 0, -1)) do
      local waiting = redis.pcall('ZCARD', 'fb:waiting:' .. place .. ':' .. tenant)
      waiting = type(waiting) == 'number' and waiting or 0
      depth = depth + waiting
      held = held + (is_paused(paused, queue, tenant) and waiting or 0)
    end
  end
  redis.call('HSET', 'fb:depth', queue, depth)
  return paused['lane:' .. hop_of(queue)] and 0 or depth - held
end

for _, queue in ipairs(redis.call('HKEYS', 'fb:depth')) do
  if is_queue(queue) then
    pcall(function() ring_again(queue, recount(queue)) end)
  else
    redis.call('HDEL', 'fb:depth', queue) -- no script counts there
  end
end

-- Refuse new jobs while memory is short, so that the jobs already here can end, and return the
-- percentage in use. Memory is counted as Redis does, without buffers that `maxmemory` leaves out.
local function measure_memory()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then
    return 0 -- this Redis user may not run INFO
  end
  local function field(name)
    return number(string.match(info, '\n' .. name .. ':(%d+)'))
  end
  local limit_bytes = field('maxmemory')
  local used_bytes = field('used_memory') - field('mem_not_counted_for_evict')
  if limit_bytes > 0 then
    local free = math.max(0, math.floor(memory_limit * limit_bytes - used_bytes))
    redis.call('SET', 'fb:free', string.format('%.0f', free), 'PX', full_ms)
  end
  local share = limit_bytes > 0 and used_bytes / limit_bytes or 0
  if share >= memory_limit - (redis.call('EXISTS', 'fb:full') == 1 and SLACK or 0) then
    redis.call('SET', 'fb:full', math.floor(share * 100), 'PX', full_ms)
    return math.floor(share * 100)
  end
  redis.call('DEL', 'fb:full')
  return 0
end

-- Take the jobs that were cancelled since the last sweep. Producers write the list, so it may lie.
local function take_cancelled()
  for _, id in ipairs(redis.pcall('LPOP', 'fb:cancelled', limit) or {}) do
    local job = is_id(id) and read(id)
    if job and job.state == 'cancelled' then
      moved[#moved + 1] = id
    end
  end
end
pcall(take_cancelled)

-- Count the jobs that were given back, by minute; counts of more than two hours ago are removed.
local function count_recovered()
  local minute = math.floor(now / 60000)
  redis.call('HINCRBY', 'fb:recovered', minute, back)
  redis.call('PEXPIRE', 'fb:recovered', RECOVERED_MS)
  for _, field in ipairs(redis.call('HKEYS', 'fb:recovered')) do
    if number(field) < minute - RECOVERED_MS / 60000 then
      redis.call('HDEL', 'fb:recovered', field)
    end
  end
end

if back > 0 then
  pcall(count_recovered)
end

return { back, dead, due, expired, rung, measure_memory(), moved }
