#!lua flags=allow-oom
-- Claim the best jobs waiting in a queue, one after the other: interactive before bulk (with ageing),
-- tenants in turn, and each tenant's earliest deadline first. A job before the router whose lane is no
-- question is moved there instead: its producer may not put it into a lane itself.
-- -> {{id, token, record, content, draft}, ...}; empty if no job waits, or all that wait are paused
-- Before the router each job takes its doorbell from the list, the first one only if none called the
-- worker: `unrung` is 1. In the queue of a lane few doorbells stand for all jobs. `shards` is 1 if shards
-- of bulks are to be claimed, and no other jobs. At most `count` are claimed, and no more once their
-- contents and drafts take `MAX_BYTES`.
-- `selection` is JSON and says which jobs may be claimed: `interactive`, only interactive jobs; `kinds`,
-- only jobs of these kinds, of which each tenant's first LOOK jobs are looked at; `passed_over`, no
-- jobs of these tenants; `held`, how many jobs of each tenant the worker works now: those of whom it
-- works the fewest go first. Empty allows all jobs.
local queue, nonce, lease_ms, max_attempts, retention_ms = unpack(ARGV, 1, 5)
local ageing_ms, bulk_share, unrung, shards, count, bell, selection = unpack(ARGV, 6)
local paused = paused_scopes()
local PARKED_MS = 10000 -- how long a shard of a paused bulk is put aside
local MAX_SKIPPED = 50 -- jobs that cannot be worked are ended here, at most so many in one claim
local MAX_SKIPPED_SHARDS = 500 -- likewise shards: more than one bulk that is fed has waiting
local MAX_MOVED = 200 -- jobs that are moved to their lane in one claim
local MAX_BYTES = 65536 -- a worker of many jobs must be done with them long before its leases end
local clock = {} -- class -> the virtual time of its last claim
local MIN_ADMITTED = 15 -- tenants that get their turn besides one for each job
local LOOK = 100 -- jobs that are looked at for one of a kind, of all tenants together
local wanted = selection and selection ~= '' and cjson.decode(selection) or {}

-- Return the names in a list as a set.
local function set_of(names)
  local set = {}
  for _, name in ipairs(names or {}) do
    set[name] = true
  end
  return set
end

local kinds, passed_over = wanted.kinds and set_of(wanted.kinds), set_of(wanted.passed_over)
local in_work = wanted.held or {} -- tenant -> jobs of it that the worker works
local looks = LOOK

-- Return the most urgent of the jobs under a key whose kind is wanted, and whether any job waits.
local function first_of(waiting)
  local ids = redis.pcall('ZRANGE', waiting, 0, kinds and math.max(looks, 1) - 1 or 0)
  if not kinds then
    return ids[1], ids[1] ~= nil
  end
  for _, id in ipairs(ids) do
    looks = looks - 1
    if not is_id(id) or kinds[redis.pcall('HGET', job_key(id), 'kind')] then
      return id, true
    end
  end
  return nil, ids[1] ~= nil
end

-- Put a tenant whose virtual time no claim can have led to behind the others. An honest time differs
-- from the clock's by one job at most; others were forged, or a forged clock was repaired.
local function correct(turn, entry, now, most)
  local tenant, served = entry[1], tonumber(entry[2])
  if tenant and not (served >= now - most and served <= now + most) then
    redis.call('ZADD', turn, 'XX', now + 1, tenant)
    return true
  end
end

-- Give their turns to the next tenants that came to a class; return whether any had come.
local admitted = {} -- class -> names that were looked at
local function admit_more(class)
  local most, before = MIN_ADMITTED + count, admitted[class] or 0
  admitted[class] = before + most
  return before < MAX_NEWCOMERS and admit(queue, class, most)
end

-- Return the most urgent job of the tenant whose turn it is in a class, and the tenant. What is not
-- the tenant's job is dropped, and costs the tenant as much of its virtual time as a job.
local function head(class)
  local place = queue .. ':' .. class
  local turn = 'fb:turn:' .. place
  local most = class == 'rows' and MAX_ROWS or 1 -- a shard costs as many units as it has rows
  if not clock[class] then
    admit_more(class)
    clock[class] = number(redis.call('HGET', 'fb:clock', place))
    correct(turn, redis.call('ZRANGE', turn, -1, -1, 'WITHSCORES'), clock[class], most)
  end
  local now, best = clock[class], {} -- the job and the tenant of whom the fewest jobs are in work
  local skipped = 0 -- tenants at the front: paused, passed over, without a job of the kinds, or not the best
  for i = 1, 2 * MAX_SKIPPED do
    local entry = redis.call('ZRANGE', turn, skipped, skipped, 'WITHSCORES')
    local tenant = entry[1]
    if looks < 1 or not tenant and not admit_more(class) then
      break
    elseif not tenant then
      skipped = 0 -- newcomers stand between others
    elseif passed_over[tenant] or is_paused(paused, queue, tenant) then
      skipped = skipped + 1
    elseif i > MAX_SKIPPED or not correct(turn, entry, now, most) then
      local waiting = 'fb:waiting:' .. place .. ':' .. tenant
      local first, waits = first_of(waiting)
      if not waits then
        redis.call('ZREM', turn, tenant) -- no job of the tenant waits, or its key is no zset
      elseif not first then
        skipped = skipped + 1
      elseif not is_id(first) or tenant_of(first) ~= tenant then
        redis.call('ZREM', waiting, first)
        redis.call('ZINCRBY', turn, 1, tenant)
      else
        local count_of_it = number(in_work[tenant])
        if count_of_it <= 0 then
          return first, tenant
        elseif not best.first or count_of_it < best.count then
          best = { first = first, tenant = tenant, count = count_of_it }
        end
        skipped = skipped + 1
      end
    end
  end
  return best.first, best.tenant
end

-- Return the job to claim, its class and its tenant. Once bulk jobs have waited for `ageing_ms`,
-- they get one claim in `bulk_share`, however many interactive jobs wait, until no bulk job waits. If
-- interactive jobs of the same tenant wait, such a claim costs it a turn among them: jobs of both
-- classes get a tenant no more than jobs of one.
local function choose()
  if shards == '1' then
    local shard, owner = head('rows')
    return shard, 'rows', owner
  end
  local interactive, interactive_tenant = head('interactive')
  if wanted.interactive then
    return interactive, 'interactive', interactive_tenant
  end
  local bulk, bulk_tenant = head('bulk')
  if kinds then
    return interactive or bulk, interactive and 'interactive' or 'bulk', interactive_tenant or bulk_tenant
  end
  if bulk then
    redis.pcall('HSETNX', 'fb:since', queue .. ':bulk', now_ms())
  else
    redis.pcall('HDEL', 'fb:since', queue .. ':bulk')
  end
  if not interactive then
    return bulk, 'bulk', bulk_tenant
  end
  if bulk and number(redis.call('HINCRBY', 'fb:picks', queue, 1)) % tonumber(bulk_share) == 0 then
    local since = number(redis.pcall('HGET', 'fb:since', queue .. ':bulk'))
    if now_ms() - since > tonumber(ageing_ms) then
      redis.call('ZADD', 'fb:turn:' .. queue .. ':interactive', 'XX', 'INCR', 1, bulk_tenant)
      return bulk, 'bulk', bulk_tenant
    end
  end
  return interactive, 'interactive', interactive_tenant
end

-- Take a job out of its queue, for `cost` units of its tenant's virtual time. A tenant without waiting
-- jobs leaves, and comes back at the clock's time. The clock moves to the time that the tenant was
-- served for, so leaving and coming back gains it nothing.
local function take(id, class, tenant, cost)
  local turn = 'fb:turn:' .. queue .. ':' .. class
  check_types(id, queue, class)
  local served = number(redis.call('ZINCRBY', turn, cost, tenant))
  dequeue(id, queue, class)
  if redis.call('EXISTS', waiting_key(queue, class, id)) == 1 then
    served = served - cost
  else
    redis.call('ZREM', turn, tenant)
  end
  clock[class] = math.max(clock[class], served)
  redis.call('HSET', 'fb:clock', queue .. ':' .. class, clock[class])
end

-- Return the string under a key; empty if there is none.
local function text(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end

-- Return whether a job is larger than a job can be. Its tenant may have made it so, and a worker that
-- read it could run out of memory.
local function is_oversized(id)
  for _, family in ipairs({ 'fb:content:', 'fb:draft:' }) do
    local length = redis.pcall('STRLEN', family .. id)
    if type(length) == 'number' and length > MAX_SEALED_BYTES then
      return true
    end
  end
  return is_too_large(job_key(id))
end

-- Take the doorbell of a job from the list; the first job's was taken by the worker that it called.
local taken = 0
local function take_bell()
  if queue == 'route' and (unrung == '1' or taken > 0) then
    redis.call('RPOP', queue)
  end
  taken = taken + 1
end

-- Ring for others, workers or threads of this one, if jobs are left in the queue of a lane. So as many
-- come as there are jobs, each called by the one before.
local function ring_for_others()
  local place = 'fb:turn:' .. queue
  if redis.call('ZCARD', place .. ':interactive') + redis.call('ZCARD', place .. ':bulk') == 0 then
    return
  end
  local left = math.max(1, number(redis.call('HGET', 'fb:depth', queue)))
  for _ = redis.call('LLEN', queue) + 1, math.min(left, BELLS) do
    ring(queue, bell)
  end
end

-- Claim a job for this worker.
local function claim(id, job, record)
  local key, fence, now = job_key(id), job.fence + 1, now_ms()
  local token = string.format('%.0f-%s%d', fence, nonce, taken)
  local changes = { 'state', 'running', 'queue', queue, 'hop', job.hop, 'token', token, 'started', now,
    'fence', fence, 'attempts', job.attempts + 1, 'queued_ms', job.queued_ms + now - job.queued }
  redis.call('HSET', key, unpack(changes))
  redis.call('ZADD', 'fb:leases', now + lease_ms, id)
  take_bell()
  for _, part in ipairs(changes) do
    record[#record + 1] = tostring(part) -- the later of two values of a field holds
  end
  return { id, token, record, text('fb:content:' .. id), text('fb:draft:' .. id) }
end

-- Move a job from the router's queue to its lane if that is no question, and return whether it was.
local function move(id, job)
  if queue ~= 'route' or job.audit_of ~= '' then
    return false
  end
  local lane, egress, reasons = direct(id, job)
  if lane then
    take_bell()
    queue_up(id, job, lane, bell, 'egress', egress, 'reasons', reasons, 'attempts', 0)
  end
  return lane
end

-- End or put aside a job that cannot be claimed; return false for a job that can.
local function set_aside(id, job, bulk, large)
  if not job or job.state ~= 'waiting' or job.queue ~= queue then
    -- The entry stayed behind when the job moved. If nothing else leads to the job, end it.
    if job and stranded(id, job) then
      fail_damaged(id, job, retention_ms)
    end
  elseif large then
    fail_damaged(id, job, retention_ms, 'its record or its content is larger than that of any job')
  elseif job.deadline > 0 and job.deadline <= now_ms() then
    expire(id, job, retention_ms)
  elseif job.attempts >= tonumber(max_attempts) then
    fail_used_up(id, job, retention_ms, job.error)
  elseif bulk == 'cancelled' then
    finish(id, job, 'cancelled', retention_ms, 'error', 'cancelled')
    have_told_cancelled(id)
  elseif bulk == 'paused' then
    redis.call('ZADD', 'fb:later', now_ms() + PARKED_MS, id)
  else
    return false
  end
  return true
end

if paused['lane:' .. hop_of(queue)] then
  return {}
end
local claims, bytes, moved, skipped = {}, 0, 0, 0
local max_skipped = shards == '1' and MAX_SKIPPED_SHARDS or MAX_SKIPPED
while #claims < tonumber(count) and bytes < MAX_BYTES and moved < MAX_MOVED and skipped < max_skipped do
  local id, class, tenant = choose()
  if not id then
    break
  end
  local large, job, record = is_oversized(id), nil, nil
  if large then
    job = read_large(id)
  else
    job, record = read_all(id)
  end
  local bulk = job and bulk_state(id, job)
  local rows = class == 'rows' and job and bulk ~= 'paused' and bulk ~= 'cancelled' and job.rows or 1
  take(id, class, tenant, math.max(1, math.min(rows, MAX_ROWS))) -- rows that wait on cost no turns
  if set_aside(id, job, bulk, large) then
    skipped = skipped + 1
  elseif move(id, job) then
    moved = moved + 1
  else
    claims[#claims + 1] = claim(id, job, record)
    in_work[tenant] = number(in_work[tenant]) + (wanted.held and 1 or 0)
    bytes = bytes + #claims[#claims][4] + #claims[#claims][5]
  end
end
if #claims > 0 and queue ~= 'route' and shards ~= '1' then
  ring_for_others()
end
return claims
