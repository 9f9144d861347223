#!lua flags=allow-oom
-- Do one bounded batch of upkeep; any number of sweepers may run.
-- -> {jobs given back, dead, due, expired, doorbells rung, percentage of memory used if it is short,
--     the ids of the jobs that were given back, are dead, have expired or were cancelled}
local limit, max_attempts, retention_ms, bell, memory_limit, full_ms, tenant_share = unpack(ARGV)
local MAX_ADMITTED = 1000 -- tenants that get their turn in one class of a queue, besides those of claims
local MAX_SPARE_BELLS = 1000 -- doorbells beyond the number of jobs that wait
local SLACK = 0.05 -- once full, until memory in use is this share of maxmemory below the limit
local MIN_SWEEP_GAP_MS = 500 -- sweeps of several sweepers within this time count as one
local POSTPONED_MS = 60000
local ALONE_SHARE = 0.9 -- of the memory that is used: as much as a tenant may hold without others
local MAX_FORGED_SHARE = 0.5 -- of free memory: as much as a tenant can pretend its answers will take
local RECOVERED_MS = 2 * 3600000 -- for so long the number of recovered leases is known
local now = now_ms()
local back, dead, due, expired, rung, moved = 0, 0, 0, 0, 0, {}

-- Call `move` for at most so many jobs whose time in this set has come. A job that cannot be moved, because a
-- key of the wrong type is in the way, does not stop the others; it is tried again in a minute.
local function each(set, most, move)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, most)) do
    if not is_id(id) then
      redis.call('ZREM', set, id) -- a producer may have written it
    elseif not pcall(move, id, read(id)) then
      redis.call('ZADD', set, 'XX', now + POSTPONED_MS, id)
    end
  end
end

-- End at most so many of the jobs in a set of deadlines. Producers write these sets, so they may lie.
local function end_overdue(set, most)
  local tenant = string.match(set, '^fb:deadlines:(.+)$')
  each(set, most, function(id, job)
    if tenant and tenant_of(id) ~= tenant then
      job = nil -- it has an entry of its own
    elseif job and not ended(job.state) and job.deadline > now then -- the entry was forged
      redis.call('ZADD', set, job.deadline, id)
      return
    end
    if job and not ended(job.state) and job.deadline > 0 then
      expire(id, job, retention_ms)
      expired = expired + 1
      moved[#moved + 1] = id
    end
    redis.call('ZREM', set, id)
  end)
end

-- Remove a job from the set, and end it if nothing else leads to it.
local function let_go(set, id, job)
  redis.call('ZREM', set, id)
  if job and stranded(id, job) then
    fail_damaged(id, job, retention_ms)
    dead = dead + 1
    moved[#moved + 1] = id
  end
end

each('fb:leases', limit, function(id, job)
  if not job or job.state ~= 'running' then
    let_go('fb:leases', id, job)
  elseif job.attempts >= tonumber(max_attempts) then
    fail_used_up(id, job, retention_ms, '')
    dead = dead + 1
    moved[#moved + 1] = id
  else
    queue_up(id, job, home(job), bell)
    back = back + 1
    moved[#moved + 1] = id
  end
end)

each('fb:later', limit, function(id, job)
  if job and job.state == 'waiting' then
    queue_up(id, job, home(job), bell)
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
  local last = redis.call('HGET', 'fb:quiet', queue .. ' at')
  if ms_since(last, MIN_SWEEP_GAP_MS) >= MIN_SWEEP_GAP_MS then
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

-- Give each known tenant its turn at the router. Producers may have hidden it in a flood of forged
-- newcomers; in other queues only workers and sweepers add newcomers.
local function admit_known()
  local tenants = redis.call('HKEYS', 'fb:tenants')
  for _, class in ipairs({ 'interactive', 'bulk', 'rows' }) do
    give_turns(tenants, 'route:' .. class)
  end
end

local paused = paused_scopes()
local in_turn = {} -- tenants with waiting jobs: the walk may have forgotten one that came back

-- Return what workers may take of a class: doorbells of paused tenants and lanes would find nothing.
local function takeable(queue, class)
  local place, total = queue .. ':' .. class, 0
  if paused['lane:' .. hop_of(queue)] then
    return 0
  end
  for _, tenant in ipairs(redis.call('ZRANGE', 'fb:turn:' .. place, 0, -1)) do
    in_turn[tenant] = true
    if not is_paused(paused, queue, tenant) then
      total = total + waiting_of(tenant, place)
    end
  end
  return total
end

-- Count what waits in a queue, jobs and shards, and note since when bulk jobs do.
local function recount(queue)
  for _, class in ipairs({ 'interactive', 'bulk', 'rows' }) do
    admit(queue, class, MAX_ADMITTED)
  end
  local bulk = waiting_in(queue .. ':bulk')
  if bulk > 0 then
    redis.call('HSETNX', 'fb:since', queue .. ':bulk', now)
  end
  return waiting_in(queue .. ':interactive') + bulk, waiting_in(queue .. ':rows')
end

-- Ring for the shards of a local queue, once for each worker: one with a thread to spare answers.
local function ring_for_shards(queue, shards)
  if shards > 0 and redis.call('LLEN', queue) == 0 then
    local workers = redis.call('ZCOUNT', 'fb:serving:' .. queue, now, '+inf')
    for _ = 1, math.min(workers, tonumber(limit)) do
      ring(queue, bell)
      rung = rung + 1
    end
  end
end

-- Put jobs that wait in a pool back before the router if nobody serves the pool, and the routers have
-- published a policy that does not name it any more.
local published = redis.pcall('HVALS', 'fb:lanes')
local function leave_gone_pool(queue)
  if #published == 0 or string.sub(queue, 1, 6) ~= 'local.'
    or redis.call('ZCOUNT', 'fb:serving:' .. queue, now, '+inf') > 0 then
    return
  end
  for _, named in ipairs(published) do
    if named == queue then
      return
    end
  end
  for _, class in ipairs({ 'interactive', 'bulk', 'rows' }) do
    for _, tenant in ipairs(redis.call('ZRANGE', 'fb:turn:' .. queue .. ':' .. class, 0, limit - 1)) do
      local waiting = 'fb:waiting:' .. queue .. ':' .. class .. ':' .. tenant
      for _, id in ipairs(redis.pcall('ZRANGE', waiting, 0, limit - 1)) do
        local job = is_id(id) and tenant_of(id) == tenant and read(id)
        if job and job.state == 'waiting' and job.queue == queue then
          queue_up(id, job, 'route', bell)
        end
        redis.call('ZREM', waiting, id)
      end
    end
  end
end

-- Forget a queue that is empty and that no worker has served for long.
local function forget_if_unused(queue, depth)
  if depth + redis.call('LLEN', queue) + redis.call('EXISTS', 'fb:serving:' .. queue) == 0 then
    redis.call('SREM', 'fb:queues', queue)
    redis.call('HDEL', 'fb:quiet', queue, queue .. ' at')
  end
end

-- Replace all depths by what is counted: producers move the stored numbers, and may add any queue.
pcall(admit_known)
redis.call('SADD', 'fb:queues', 'route')
local depths = {}
for _, queue in ipairs(redis.call('SMEMBERS', 'fb:queues')) do
  pcall(leave_gone_pool, queue)
  pcall(function()
    local jobs, shards = recount(queue)
    depths[queue] = jobs
    if shards > 0 then
      depths[queue .. ':rows'] = shards
    end
    local jobs_to_take = takeable(queue, 'interactive') + takeable(queue, 'bulk')
    if queue == 'route' then
      ring_again(queue, jobs_to_take + takeable(queue, 'rows'))
    else
      ring_again(queue, math.min(jobs_to_take, BELLS))
      ring_for_shards(queue, takeable(queue, 'rows'))
    end
    forget_if_unused(queue, jobs + shards)
  end)
end
redis.call('UNLINK', 'fb:depth')
for queue, depth in pairs(depths) do
  redis.call('HSET', 'fb:depth', queue, depth)
end

-- Return the sets in which deadlines have passed.
local function overdue_sets()
  local sets = { 'fb:deadlines' } -- of producers of an earlier release
  for _, tenant in ipairs(redis.call('HKEYS', 'fb:tenants')) do
    in_turn[tenant] = true
  end
  for tenant in pairs(in_turn) do
    local set = deadlines_key(tenant)
    if number(redis.pcall('ZCOUNT', set, '-inf', now)) > 0 then
      sets[#sets + 1] = set
    end
  end
  return sets
end

-- Each tenant has its share of a sweep, so nobody's flood delays the deadlines of others. By now all
-- tenants that have come are known.
local sets = overdue_sets()
for _, set in ipairs(sets) do
  end_overdue(set, math.ceil(limit / #sets))
end

-- Count the bytes of the answers to come, of each tenant and of all, and return the bytes that all
-- tenants hold. A tenant's own number may be
-- forged; beyond what the last walk verified, it counts up to a share of the memory that is free.
local function count_promises(free)
  local known, total, all_held = redis.call('HGETALL', 'fb:tenants'), 0, 0
  redis.call('UNLINK', 'fb:counted')
  for i = 1, #known, 2 do
    local most = math.max(number(known[i + 1]), math.floor(MAX_FORGED_SHARE * free))
    local bytes = math.min(counted_by('promised', known[i]), most)
    local held = counted_by('held', known[i])
    redis.call('HSET', 'fb:counted', known[i], string.format('%.0f', bytes), known[i] .. ' held',
      string.format('%.0f', held))
    total, all_held = total + bytes, all_held + held
  end
  redis.call('HSET', 'fb:counted', '*', string.format('%.0f', total))
  redis.call('PEXPIRE', 'fb:counted', full_ms)
  return all_held
end

-- Limit what one tenant may hold, so that it leaves room for others, or for the first jobs of others.
-- `usable`: bytes that are not taken by anything but jobs.
local function set_quota(usable)
  local share = tonumber(tenant_share)
  if share >= 1 then
    redis.call('DEL', 'fb:quota')
    return
  end
  if redis.call('HLEN', 'fb:tenants') < 2 then
    share = math.max(share, ALONE_SHARE)
  end
  redis.call('SET', 'fb:quota', string.format('%.0f', share * usable), 'PX', full_ms)
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
    local rest = math.max(0, used_bytes - count_promises(free))
    set_quota(math.max(0, memory_limit * limit_bytes - rest))
  end
  local share = limit_bytes > 0 and used_bytes / limit_bytes or 0
  if share >= memory_limit - (redis.call('EXISTS', 'fb:full') == 1 and SLACK or 0) then
    redis.call('SET', 'fb:full', math.floor(share * 100), 'PX', full_ms)
    return math.floor(share * 100)
  end
  redis.call('DEL', 'fb:full')
  return 0
end

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

return { back, dead, due, expired, rung, measure_memory(), moved }
