-- The functions that all scripts share. This file is put before each of them.
--
-- A script reads before it writes, so that a key of the wrong type stops it before it has changed
-- anything. Anybody may have written a record: a missing field, or text in place of a number, must
-- do no harm. A caller or a record may also name a key, a queue or a job, which a script touches with
-- the rights of a worker (a confused deputy). So each such name is checked where it is used: a queue
-- is one of the fleet's, and everything else belongs to the tenant of the job.
--
-- Keys:  fb:job:<id>      hash    the record of a job
--        fb:content:<id>, fb:answer:<id>, fb:draft:<id>  string  request, answer and draft, sealed
--        fb:asked:<id>    string  what the gateway was asked for the job, sealed; kept as long as the job
--        fb:waiting:<queue>:<class>:<tenant>  zset  job id -> when it is due (us). The class is
--                                 `interactive`, `bulk` or `rows` (shards of bulks)
--        fb:turn:<queue>:<class>   zset   tenant with waiting jobs -> virtual time served so far
--        fb:newcomers:<queue>:<class>  set  tenants that may have jobs waiting and are in no turn
--        fb:tenants       hash    tenant with jobs -> bytes of its answers to come, as last verified
--        fb:clock         hash    <queue>:<class> -> virtual time of the last claim;
--                                 '<queue>:<class> next' -> cursor of a walk over fb:tenants
--        fb:since         hash    <queue>:bulk -> ms since when bulk jobs wait there
--        fb:queues        set     queues that workers serve or jobs were put into
--        fb:lanes         hash    what the routers' policy says of jobs whose lane is no question, see
--                                 `published_lanes.py`: '<tenant>/<kind>' -> queue, '<tenant>/deny' and
--                                 '<tenant>/bedrock' -> '1' or '0', 'epoch' -> digest of all of it. The
--                                 tenant is empty for those that the policy does not name
--        fb:depth         hash    <queue> -> jobs waiting, <queue>:rows -> shards waiting; replaced by
--                                 each sweep
--        fb:picks         hash    <queue> -> claims that could choose between the classes
--        fb:leases        zset    job id -> ms at which its lease runs out
--        fb:later         zset    job id -> ms at which its retry is due
--        fb:deadlines:<tenant>  zset  job id -> ms at which it expires. `fb:deadlines` has the jobs of
--                                 producers of an earlier release
--        fb:dead:<tenant> zset    failed job that was not replayed -> ms at which it ended
--        fb:moved:<tenant> string  the tenant's new jobs belong to another fleet: '<fleet> <phase>'; see
--                                 `fence.py`. Only operators write it
--        fb:move:<tenant>  hash   a move to another fleet that is under way; see `moving/state.py`
--        fb:carried:<tenant> string  the last move that handed over to this fleet what was spent
--        fb:maps          hash   gateway -> the map of fleets that it follows; see `followed_maps.py`
--        fb:full          string  percentage of memory in use, set by the sweeper while it is short
--        fb:free          string  bytes until then, measured by the sweeper
--        fb:promised:<tenant>  string  bytes of the answers to come, as estimated for each job
--        fb:held:<tenant> string  bytes that the records, requests and answers of the tenant take
--        fb:quota         string  bytes that one tenant may hold, answers to come included;
--                                 written by the sweeper
--        fb:counted       hash    what the last sweep counted: tenant -> bytes of its answers to come,
--                                 '*' -> of all tenants, '<tenant> held' -> bytes that it held
--        fb:idempotency:<tenant>:<name>  string  '<id> <digest>' of the first job under the key
--        fb:cached:<id>   string  the key of the answer cache that holds the job's answer
--        fb:watchers:<id> set     the streams to which the job's end is written
--        fb:watchers:<tenant>.:webhooks  string  the tenant has webhooks: the ends of its jobs are
--                                 written to fb:wake:<tenant>:webhooks
--        fb:stream:<tenant>:<id>  stream  the text of the answer while it is generated, sealed
--        fb:models:<queue>  zset  the models that answer there, as JSON -> s until when this holds
--        fb:rings         string  times that doorbells were rung; numbers them
--        fb:quiet         hash    <queue> -> doorbells missing at the last sweep
--                                 '<queue> at' -> ms of that sweep
--        fb:born          string  ms since when this Redis has had its data: it is younger than a worker
--                                 if Redis lost them
--        fb:cancelled     list    jobs that were cancelled while they waited, since the last sweep
--        fb:paused        hash   scope (lane:<hop>, tenant:<name>, bedrock:<tenant>, ...) -> why; see
--                                `pauses.py`. Only operators write it
--        fb:recovered     hash    minute -> leases that ran out in it, whose jobs were given back
--        fb:books:jobs:<hour>  hash  counts of jobs that ended in the hour; see `job_book.py`
--        fb:books:jobs:packed:<hour>  string  the same of an hour two days ago or more; see
--                                 `packed_hours.py`
--        fb:books:jobs:minute:<minute>  hash  the same of the whole fleet, and what waited; see
--                                 `job_history.py`. Kept a day
--        fb:serving:<queue>  zset  worker -> ms until which it serves the queue
--        fb:workers       zset   worker -> ms at which it was last seen
--        fb:worker:<name> string what that worker says of itself (JSON)
--        fb:hands         hash   worker -> the jobs that it holds at most, by an operator's order
--        fb:bulk:<bulk>   hash    a bulk: what its producer says of it, `state`, counters of its rows, and
--                                 `max_nusd`, `settled_nusd`, `reserved_nusd` (billionths of a dollar)
--        fb:rates:<kind>  hash    <queue> <span of 10 s> <model> -> rows of bulks that were answered
--                                 in it; see `row_rates.py`
--        fb:audited:<tenant>  zset  record of a row of a bulk that is audited -> ms at which it expires
--        fb:bulks:<tenant>  zset  bulk -> ms at which it was created
--        fb:bedrock:*             batches on Bedrock, and the jobs that wait for one; see `defer.lua`
--        <queue>          list    doorbells: Celery messages
--        fb:express:<queue>  list tenants whose only interactive job waits there beside those of others
local HORIZON_US = 3600 * 1000000 -- a job without a deadline is ordered as if due in an hour
local WATCH_MS = 3600000 -- a client that still waits watches again long before
local STREAM_MS = 600000 -- a stream expires if nothing is written to it for so long
local MAX_ANSWER_BYTES = 64 * 1024 * 1024
local MAX_SEALED_BYTES = 100663296 -- of a request, a draft or an answer: the largest, sealed
local MAX_RECORD_BYTES, MAX_RECORD_FIELDS = 1048576, 200 -- of a job; its tenant may have written more
local MAX_FIELD_BYTES = 65536 -- of one field that the scripts read; none is half as long
local MAX_ENDS_UNTOLD = 200000 -- ends of a tenant's jobs that wait to be told to its webhooks
local MAX_WATCHERS = 100 -- streams to which the end of one job is written
local MAX_STREAM_BYTES = 256 -- of the name of one
local TRACEPARENT_BYTES = 55
local RECORD_BYTES = 1024 -- that a job takes beside its request or its answer, about
local MAX_BELL_BYTES = 8192 -- of a doorbell's template
local BELLS = 2 -- doorbells that stand for all jobs that wait in the queue of a lane
local MAX_NEWCOMERS = 200 -- tenants without a turn that are looked at
local MAX_NAMES = 1000 -- of one command
local MAX_ROWS = 1000 -- rows of one shard
local MAX_KEPT_NEWCOMERS = 10000 -- tenants that wait for that; more are a flood of forged names
local FIELDS = { 'state', 'queue', 'hop', 'priority', 'token', 'egress', 'reasons', 'idempotency',
  'error', 'replayed_as', 'audit_of', 'bulk', 'kind', 'pin', 'attempts', 'created_us', 'queued', 'started', 'queued_ms',
  'worked_ms', 'fence', 'deadline', 'answer_bytes', 'bytes', 'rows', 'contract', 'asked' }
local TEXT_FIELDS = 14 -- the first fields are text, the others numbers

-- Run a command that a script which puts on many jobs needs once, and return its reply, which is kept
-- under a name. Redis' clock, for example, stands still while a script runs.
local replies = {}
local function once(name, ...)
  local reply = replies[name]
  if reply == nil then
    reply = redis.call(...)
    replies[name] = reply
  end
  return reply
end

-- What a script adds to counts and indexes, and the doorbells that it rings, while it moves many jobs:
-- see `together`. Nil in a script that writes all of it at once.
local gathered

-- Return what is gathered for a key.
local function gathered_for(lists, key)
  lists[key] = lists[key] or {}
  return lists[key]
end

-- Put a member into a sorted set.
local function put_in(key, score, member)
  if gathered then
    local list = gathered_for(gathered.added, key)
    list[#list + 1], list[#list + 2] = score, member
    return
  end
  redis.call('ZADD', key, score, member)
end

-- Remove a member from a sorted set, if it is there.
local function take_out(key, member)
  if gathered then
    local list = gathered_for(gathered.removed, key)
    list[#list + 1] = member
    return
  end
  redis.call('ZREM', key, member)
end

local function now_us()
  local time = once('time', 'TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function job_key(id)
  return 'fb:job:' .. id
end

local tenants_of = {} -- id -> tenant
local function tenant_of(id)
  local tenant = tenants_of[id]
  if not tenant then
    tenant = string.match(id, '^[^.]*')
    tenants_of[id] = tenant
  end
  return tenant
end

local function waiting_key(queue, class, id)
  return 'fb:waiting:' .. queue .. ':' .. class .. ':' .. tenant_of(id)
end

-- Each tenant's deadlines have a key of their own: a flood of forged ones delays nobody else's.
local function deadlines_key(tenant)
  return 'fb:deadlines:' .. tenant
end

-- Return a whole number that a double holds exactly. Anything else is 0, NaN and infinity included.
local function number(text)
  local value = tonumber(text)
  if value and value > -2 ^ 53 and value < 2 ^ 53 then
    return math.floor(value)
  end
  return 0
end

-- Return the ms since a stored time: `most` if it lies ahead, because the clock was set back since.
local function ms_since(at, most)
  local ms = now_ms() - number(at)
  return ms < 0 and most or ms
end

-- Return an argument as a whole number greater than 0, or raise an error. A script reads its
-- arguments before it writes anything.
local function positive(text, name)
  local value = number(text)
  if value <= 0 then
    error(name .. ': must be a whole number greater than 0')
  end
  return value
end

-- Raise an error, before anything is written, unless a worker, a sweeper or an operator runs the script:
-- a producer could fill Redis beyond `maxmemory` with a script that may run while memory is full. Redis
-- refuses producers and gateways this key.
local function fleet_only()
  once('fleet_only', 'EXISTS', 'fb:queues')
end

-- Return whether this can be the id of a job.
local function is_id(id)
  return type(id) == 'string' and string.match(id, '^[a-z0-9][a-z0-9_-]*%.[%w_-]+$') ~= nil
end

-- Return whether both jobs belong to one tenant.
local function same_tenant(id, other)
  return is_id(other) and tenant_of(id) == tenant_of(other)
end

-- Return whether workers can claim from a queue of this name.
local function is_queue(name)
  return name == 'route' or name == 'embed' or name == 'bedrock'
    or string.match(name, '^local%.[a-z0-9][a-z0-9_-]*$') ~= nil
end

-- Return the hop that a queue belongs to.
local function hop_of(queue)
  return (queue == 'route' or queue == 'bedrock') and queue or 'local'
end

-- Return whether a key is one of the job's tenant: <family>:<tenant>:<name>.
local function owned(key, family, id)
  local prefix = family .. ':' .. tenant_of(id) .. ':'
  return string.sub(key, 1, #prefix) == prefix
end

-- Put a record into its form. A record that names no queue, or a queue that workers cannot claim from,
-- is the router's.
local function in_form(job)
  if not is_queue(job.queue) then
    job.queue = 'route'
  end
  job.hop = hop_of(job.queue)
  if job.rows > 0 then
    job.priority = 'rows'
  elseif job.priority ~= 'bulk' then
    job.priority = 'interactive'
  end
  return job
end

-- Return whether a record takes more memory than a record can.
local function is_too_large(key)
  if number(redis.pcall('HLEN', key)) > MAX_RECORD_FIELDS then
    return true
  end
  local bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 0)
  return type(bytes) == 'number' and bytes > MAX_RECORD_BYTES
end

-- Return the record of a job; nil if there is none, or if its key holds something else.
local function read(id)
  local values = redis.pcall('HMGET', job_key(id), unpack(FIELDS))
  if values.err or not values[1] then
    return nil
  end
  local job = {}
  for i, name in ipairs(FIELDS) do
    job[name] = i <= TEXT_FIELDS and (values[i] or '') or number(values[i])
  end
  return in_form(job)
end

-- Return the record of a job, as `read` does, and all its fields as a list.
local function read_all(id)
  local list = redis.pcall('HGETALL', job_key(id))
  local values = {}
  for i = 1, #list, 2 do
    values[list[i]] = list[i + 1]
  end
  if list.err or not values.state then
    return nil
  end
  for i, name in ipairs(FIELDS) do
    values[name] = i <= TEXT_FIELDS and (values[name] or '') or number(values[name])
  end
  return in_form(values), list
end

-- Return the record of a job that is too large, without the fields that make it so.
local function read_large(id)
  for _, name in ipairs(FIELDS) do
    if number(redis.pcall('HSTRLEN', job_key(id), name)) > MAX_FIELD_BYTES then
      redis.call('HDEL', job_key(id), name)
    end
  end
  return read(id)
end

local function ended(state)
  return state == 'done' or state == 'failed' or state == 'cancelled' or state == 'expired'
end

-- Return whether a job has not ended, but no index leads to it. Its record was forged or damaged.
local function stranded(id, job)
  return not (ended(job.state) or redis.call('ZSCORE', 'fb:leases', id)
    or redis.call('ZSCORE', 'fb:later', id)
    or redis.call('ZSCORE', waiting_key(job.queue, job.priority, id), id))
end

-- Raise an error, before anything is written, if a key that moving a job writes has a wrong type. A
-- script that moves many jobs looks at each key once.
local types_checked = {}
local waiting_jobs = {} -- key -> jobs that wait under it, by what this script has read and put there
local function check_types(id, queue, class)
  local place, waiting = queue .. ':' .. class, waiting_key(queue, class, id)
  if not waiting_jobs[waiting] then
    waiting_jobs[waiting] = redis.call('ZCARD', waiting)
  end
  if not types_checked[place] then
    once('bells ' .. queue, 'LLEN', queue)
    redis.call('ZCARD', 'fb:turn:' .. place)
    redis.call('SCARD', 'fb:newcomers:' .. place)
    types_checked[place] = true
  end
  if not types_checked.shared then
    redis.call('HLEN', 'fb:clock')
    redis.call('HLEN', 'fb:depth')
    redis.call('GET', 'fb:rings')
    redis.call('ZCARD', 'fb:leases')
    redis.call('ZCARD', 'fb:later')
    types_checked.shared = true
  end
  local deadlines = deadlines_key(tenant_of(id))
  if not types_checked[deadlines] then
    redis.call('ZCARD', deadlines)
    types_checked[deadlines] = true
  end
end

-- Return a doorbell's template in parts: text, and between two texts a word to fill in.
local parts_of = {}
local function parts(bell)
  if not parts_of[bell] then
    local found, from = {}, 1
    for first, word, after in string.gmatch(bell, '()(@%u+@)()') do
      found[#found + 1] = string.sub(bell, from, first - 1)
      found[#found + 1] = word
      from = after
    end
    found[#found + 1] = string.sub(bell, from)
    parts_of[bell] = found
  end
  return parts_of[bell]
end

-- Return a doorbell's template with its words filled in, in the parts that stand around the ring's name.
local function around_rings(queue, bell)
  local words, around = { ['@QUEUE@'] = queue, ['@TASK@'] = string.match(queue, '^[^.]*') }, { '' }
  for i, part in ipairs(parts(bell)) do
    if part == '@RING@' then
      around[#around + 1] = ''
    else
      around[#around] = around[#around] .. (i % 2 == 0 and words[part] or part)
    end
  end
  return around
end

-- Ring the doorbell some times: push as many Celery messages onto the queue's list. Those that are rung
-- together have one number, and the later ones a place after it: a producer's user of Redis may count up by
-- one only, because a number that it sets could be the last.
local function ring_often(queue, bell, times)
  local name, messages = queue .. '.' .. redis.call('INCR', 'fb:rings'), {}
  local around = around_rings(queue, bell)
  for i = 1, times do
    messages[i] = table.concat(around, i == 1 and name or name .. '-' .. i)
  end
  replies['bells ' .. queue] = redis.call('LPUSH', queue, unpack(messages))
end

-- Ring the doorbell once.
local function ring(queue, bell)
  if not gathered then
    return ring_often(queue, bell, 1)
  end
  gathered.bell, gathered.rings[queue] = bell, (gathered.rings[queue] or 0) + 1
end

-- Return how many doorbells are in the list of a queue.
local function bells_of(queue)
  return once('bells ' .. queue, 'LLEN', queue) + (gathered and gathered.rings[queue] or 0)
end

-- Return the scopes that an operator has paused, as a set.
local function paused_scopes()
  local paused = {}
  for _, scope in ipairs(redis.pcall('HKEYS', 'fb:paused')) do
    paused[scope] = true
  end
  return paused
end

-- Return whether the jobs of a tenant in a queue wait for an operator.
local function is_paused(paused, queue, tenant)
  return paused['tenant:' .. tenant] or queue == 'bedrock' and paused['bedrock:' .. tenant] or false
end

-- Add to the number of jobs that wait in a queue. A forged number that cannot be added to stops no
-- transition: the sweeper counts again.
local function count(queue, class, change)
  local field = class == 'rows' and queue .. ':rows' or queue
  if gathered then
    gathered.depths[field] = (gathered.depths[field] or 0) + change
  else
    redis.pcall('HINCRBY', 'fb:depth', field, change)
  end
end

-- Return the stored number of jobs that wait in a queue. `field`: <queue>, or <queue>:rows for shards.
local function depth_of(field)
  if not gathered then
    return number(redis.call('HGET', 'fb:depth', field))
  end
  return number(once('depth ' .. field, 'HGET', 'fb:depth', field)) + (gathered.depths[field] or 0)
end

-- Ring the express doorbell of a queue for an interactive job, if it is the only one of its tenant that waits
-- there, beside jobs of others. Celery takes no doorbell while all threads of a worker are busy. A worker whose
-- jobs end within moments takes this one all the same, and works the job beside those of a long queue. Whoever
-- may not ring it, such as a sweeper with the rights of an earlier release, leaves the job to the next claim.
local function ring_express(id, queue)
  local express = 'fb:express:' .. queue
  if waiting_jobs[waiting_key(queue, 'interactive', id)] == 1 and depth_of(queue) > 1
    and number(redis.pcall('LLEN', express)) < BELLS then
    redis.pcall('LPUSH', express, tenant_of(id))
  end
end

-- Ring for a job that was put into a queue. Before the router each job has a doorbell: tenants may write
-- into that list what is none. In the queue of a lane a few doorbells stand for all jobs, because one
-- costs a worker more than a quick job; a claim that leaves jobs waiting rings for others. Few of a
-- local worker's threads work shards, each one shard after the other, so a doorbell for each shard
-- would be answered in vain: the first shard rings, and the sweeper rings for idle workers.
local function ring_for(id, queue, class, bell)
  if class == 'rows' and hop_of(queue) == 'local'
    and depth_of(queue .. ':rows') > 1 then
    return
  end
  if class == 'rows' or queue == 'route' or bells_of(queue) < BELLS then
    ring(queue, bell)
  end
  if class == 'interactive' and hop_of(queue) == 'local' then
    ring_express(id, queue)
  end
end

-- Put a job among those that wait. It is ordered by when it was created, not by when it was queued,
-- so a job that is given back keeps its place.
local function enqueue(id, queue, class, deadline, created_us)
  local due = created_us + HORIZON_US
  if deadline > 0 then
    due = math.min(due, deadline * 1000)
  end
  local waiting = waiting_key(queue, class, id)
  put_in(waiting, string.format('%.0f', due), id)
  waiting_jobs[waiting] = waiting_jobs[waiting] + 1
  local newcomers, tenant = 'fb:newcomers:' .. queue .. ':' .. class, tenant_of(id)
  once(newcomers .. ' ' .. tenant, 'SADD', newcomers, tenant)
  count(queue, class, 1)
end

-- Return how many jobs of a tenant wait in a place, a class of a queue.
local function waiting_of(tenant, place)
  local waiting = redis.pcall('ZCARD', 'fb:waiting:' .. place .. ':' .. tenant)
  return type(waiting) == 'number' and waiting or 0
end

-- Count the jobs that wait in a place, of all tenants that have a turn there or are about to get one.
local function waiting_in(place)
  local tenants, total = {}, 0
  for _, tenant in ipairs(redis.call('ZRANGE', 'fb:turn:' .. place, 0, -1)) do
    tenants[tenant] = true
  end
  for _, tenant in ipairs(redis.call('SRANDMEMBER', 'fb:newcomers:' .. place, MAX_NEWCOMERS)) do
    tenants[tenant] = true
  end
  for tenant in pairs(tenants) do
    total = total + waiting_of(tenant, place)
  end
  return total
end

-- Give these tenants a turn in a place if they have none and jobs wait for them there. They begin at
-- the clock's time. Only workers and sweepers write turns and the clock, because a producer that could
-- write them would be served first for ever.
local function give_turns(tenants, place)
  local turn, now = 'fb:turn:' .. place, number(redis.call('HGET', 'fb:clock', place))
  for from = 1, #tenants, MAX_NAMES do
    local names = { unpack(tenants, from, math.min(#tenants, from + MAX_NAMES - 1)) }
    local served = redis.call('ZMSCORE', turn, unpack(names))
    for i, tenant in ipairs(names) do
      if not served[i] and waiting_of(tenant, place) > 0 then
        redis.call('ZADD', turn, 'NX', now, tenant)
        redis.pcall('HSETNX', 'fb:tenants', tenant, 0)
      end
    end
  end
end

-- Give a turn to tenants that came to a class of a queue since the last claim, and return whether any had
-- come: to all of them, or to `most` if they are a crowd. A producer may have forged the names of a crowd
-- to hide others. So the next of all tenants that are known get their turns too. Both are bounded, so
-- that a claim costs the same however many come.
local function admit(queue, class, most)
  local place = queue .. ':' .. class
  local newcomers = 'fb:newcomers:' .. place
  local came = redis.call('SPOP', newcomers, most)
  replies = {} -- who comes from now on is named again
  if #came == 0 then
    return false
  end
  local left = #came < most and 0 or redis.call('SCARD', newcomers)
  give_turns(came, place)
  if left > 0 and left <= MAX_NEWCOMERS then
    give_turns(redis.call('SPOP', newcomers, left), place)
  elseif left > 0 then
    local cursor = redis.call('HGET', 'fb:clock', place .. ' next')
    local known = redis.call('HSCAN', 'fb:tenants', tonumber(cursor) and cursor or 0, 'COUNT', most)
    redis.call('HSET', 'fb:clock', place .. ' next', known[1])
    local names = {}
    for i = 1, #known[2], 2 do
      names[#names + 1] = known[2][i]
    end
    give_turns(names, place)
  end
  if left > MAX_KEPT_NEWCOMERS then
    redis.call('UNLINK', newcomers)
  end
  return true
end

-- Remove a job from those that wait, if it does. A tenant without waiting jobs leaves its turn at the
-- next claim.
local function dequeue(id, queue, class)
  if redis.call('ZREM', waiting_key(queue, class, id), id) == 1 then
    count(queue, class, -1)
  end
end

-- Write the end of a job to one stream of its tenant. An error stops no transition: a client looks
-- again anyway.
local function notify(stream, id, state)
  if not owned(stream, 'fb:wake', id) then
    return
  end
  local entry = redis.pcall('XADD', stream, 'MAXLEN', '~', 100000, '*', 'id', id, 'state', state)
  if type(entry) == 'string' then
    redis.call('PEXPIRE', stream, STREAM_MS)
  end
end

-- Raise an error if the end of a job may not be written to the stream. Empty is no stream.
local function check_stream(stream, id)
  if stream ~= '' and (not owned(stream, 'fb:wake', id) or #stream > MAX_STREAM_BYTES) then
    error('stream: must begin with fb:wake:<tenant of the job>: and have at most 256 bytes')
  end
end

-- Write the end of a job to the stream: now if the job has ended, otherwise when it ends.
local function watch(id, stream, state)
  if stream == '' then
    return
  end
  if ended(state) then
    notify(stream, id, state)
  elseif number(redis.pcall('SCARD', 'fb:watchers:' .. id)) < MAX_WATCHERS then -- others look again
    redis.pcall('SADD', 'fb:watchers:' .. id, stream)
    redis.call('PEXPIRE', 'fb:watchers:' .. id, WATCH_MS)
  end
end

-- Write the end of a job to all its watchers.
local function wake(id, state)
  local watchers = 'fb:watchers:' .. id
  for _, stream in ipairs(redis.pcall('SRANDMEMBER', watchers, MAX_WATCHERS)) do
    notify(stream, id, state)
  end
  redis.call('DEL', watchers)
end

-- Write the end of a job or a bulk to the stream of its tenant's webhooks, if it has any.
local function tell_of_end(id, state, what)
  local tenant = tenant_of(id)
  local webhooks = 'fb:watchers:' .. tenant .. '.:webhooks'
  if once(webhooks, 'EXISTS', webhooks) == 1 then
    redis.pcall('XADD', 'fb:wake:' .. tenant .. ':webhooks', 'MAXLEN', '~', MAX_ENDS_UNTOLD, '*',
      'id', id, 'state', state, 'what', what)
  end
end

-- Tell the webhooks of the end of a job. Rows of bulks and audits are no jobs of a caller's.
local function tell_webhooks(id, job, state)
  if job.bulk ~= '' or job.audit_of ~= '' or job.rows > 0 then
    return
  end
  tell_of_end(id, state, 'job')
end

-- Have the next sweep tell of a job that was cancelled while it waited: no worker sees its end.
local function have_told_cancelled(id)
  local untold = redis.pcall('LLEN', 'fb:cancelled')
  if type(untold) == 'number' and untold < 1000 then
    redis.call('LPUSH', 'fb:cancelled', id)
  end
end

-- Return the key of the bulk that a job belongs to, if it belongs to one that is known.
local function bulk_key(id, job)
  if job.bulk == '' or not same_tenant(id, job.bulk) then
    return nil
  end
  local key = 'fb:bulk:' .. job.bulk
  return type(redis.pcall('HGET', key, 'created')) == 'string' and key or nil
end

-- Return the state of the bulk that a job belongs to; empty if it belongs to none.
local function bulk_state(id, job)
  local key = bulk_key(id, job)
  local state = key and redis.pcall('HGET', key, 'state')
  return type(state) == 'string' and state or ''
end

-- Count the end of a shard or of a row's own job in its bulk. What the rows of an answered shard
-- became is counted by the script that settles it. A forged counter stops no transition.
local function count_in_bulk(id, job, state, receipt)
  local key = bulk_key(id, job)
  if not key then
    return
  end
  if job.rows > 0 then
    if state ~= 'done' then
      redis.pcall('HINCRBY', key, 'rows_' .. state, math.min(job.rows, MAX_ROWS))
    end
    return
  end
  redis.pcall('HINCRBY', key, 'rows_up', -1)
  redis.pcall('HINCRBY', key, 'rows_' .. state, 1)
  local decoded, fields = pcall(cjson.decode, receipt)
  fields = decoded and type(fields) == 'table' and fields or {}
  if state == 'done' then
    redis.pcall('HINCRBY', key, fields.lane == 'bedrock' and 'rows_bedrock' or 'rows_local', 1)
    if fields.degraded ~= false then
      redis.pcall('HINCRBY', key, 'rows_degraded', 1)
    end
    if fields.stand_in == true then
      redis.pcall('HINCRBY', key, 'rows_mock', 1)
    end
  elseif type(fields.error) == 'string' then
    redis.pcall('HINCRBY', key, 'error:' .. string.sub(fields.error, 1, 60), 1)
  end
end

-- Return the idempotency key of a job if it leads to this job: a forged record may name any key.
local function idempotency_key(id, job)
  local own = owned(job.idempotency, 'fb:idempotency', id)
  local value = own and redis.pcall('GET', job.idempotency)
  if type(value) == 'string' and string.sub(value, 1, #id + 1) == id .. ' ' then
    return job.idempotency
  end
end

-- Add to a count of bytes. A forged number that cannot be added to stops no transition: the sweeper's
-- walk over all records counts again.
local function add_bytes(key, bytes)
  local total = redis.pcall('INCRBY', key, string.format('%.0f', bytes))
  if type(total) == 'number' and total <= 0 then
    redis.call('DEL', key)
  end
end

-- Add to a count of the job's tenant: `promised`, the bytes of its answers to come, or `held`, the
-- bytes that its jobs take.
local function account(name, id, bytes)
  local key = 'fb:' .. name .. ':' .. tenant_of(id)
  if gathered then
    gathered.bytes[key] = (gathered.bytes[key] or 0) + bytes
  else
    add_bytes(key, bytes)
  end
end

-- Return a count of a tenant, as its own producers count it.
local function counted_by(name, tenant)
  local key = 'fb:' .. name .. ':' .. tenant
  if not gathered then
    return math.max(0, number(redis.pcall('GET', key)))
  end
  local readable, stored = pcall(once, key, 'GET', key)
  return math.max(0, number(readable and stored) + (gathered.bytes[key] or 0))
end

local function nothing_gathered()
  return { added = {}, removed = {}, depths = {}, bytes = {}, rings = {} }
end

-- Write what was gathered, doorbells last: a worker that one calls finds the job.
local function write_gathered()
  for key, members in pairs(gathered.removed) do
    redis.call('ZREM', key, unpack(members))
  end
  for key, pairs_of_scores in pairs(gathered.added) do
    redis.call('ZADD', key, unpack(pairs_of_scores))
  end
  for field, change in pairs(gathered.depths) do
    redis.pcall('HINCRBY', 'fb:depth', field, change)
  end
  for key, bytes in pairs(gathered.bytes) do
    add_bytes(key, bytes)
  end
  for queue, times in pairs(gathered.rings) do
    ring_often(queue, gathered.bell, times)
  end
  replies = {} -- what was read before
  gathered = nothing_gathered()
end

-- Run a function that moves many jobs, and return what it returns. What these jobs add to counts and
-- indexes, and their doorbells, are written at its end, by one command for each key. An error ends it
-- there, and what was gathered before is written.
local function together(move_many)
  gathered = nothing_gathered()
  local done, reply = pcall(move_many)
  write_gathered()
  gathered = nil
  if not done then
    error(reply, 0)
  end
  return reply
end

-- Return the bytes that the answer of a job is estimated to take.
local function answer_bytes_of(job)
  return math.max(0, math.min(job.answer_bytes, MAX_ANSWER_BYTES))
end

-- Note how many bytes a job takes now.
local function hold(id, job, bytes)
  account('held', id, bytes - math.max(0, job.bytes))
  job.bytes = bytes
  redis.call('HSET', job_key(id), 'bytes', bytes)
end

-- Add a job to its tenant's index of dead jobs. The index expires with its last job. An error must
-- not keep the job from ending.
local function index_dead(id, now, retention_ms)
  local dead = 'fb:dead:' .. tenant_of(id)
  redis.pcall('ZADD', dead, now, id)
  redis.pcall('ZREMRANGEBYSCORE', dead, '-inf', '(' .. now - retention_ms)
  redis.call('PEXPIRE', dead, retention_ms)
end

-- End a job, and return its state; every job ends here. All that it leaves behind expires after
-- `retention_ms`. A failed job that has a draft becomes `done`, with the draft as its answer. An audit
-- leaves no content, because it is neither read nor replayed.
local function finish(id, job, state, retention_ms, ...)
  local key = job_key(id)
  local now = now_ms()
  check_types(id, job.queue, job.priority)
  local repeat_key = idempotency_key(id, job)
  dequeue(id, job.queue, job.priority)
  take_out('fb:leases', id)
  take_out('fb:later', id)
  take_out(deadlines_key(tenant_of(id)), id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  local draft, audit = 'fb:draft:' .. id, job.audit_of ~= ''
  local failed, cut_short = state == 'failed' and not audit, job.rows > 0 and state ~= 'done'
  -- An error if its tenant put no string there.
  local draft_bytes = (failed or cut_short) and redis.pcall('STRLEN', draft)
  local kept = type(draft_bytes) == 'number' and draft_bytes > 0
  local promoted = kept and failed
  if kept then -- the draft of a shard holds the answers so far of its rows
    redis.call('RENAME', draft, 'fb:answer:' .. id)
    redis.call('PEXPIRE', 'fb:answer:' .. id, retention_ms)
  end
  if promoted then
    state = 'done' -- a draft is better than no answer; a local draft is read as a degraded answer
  end
  redis.call('HSET', key, 'state', state, 'ended', now, 'worked_ms', worked, 'token', '',
    'promoted', promoted and '1' or '', ...)
  redis.call('PEXPIRE', key, retention_ms)
  if state == 'failed' and not audit then
    redis.call('DEL', draft)
    redis.call('PEXPIRE', 'fb:content:' .. id, retention_ms) -- kept for a replay
    index_dead(id, now, retention_ms)
  else
    redis.call('DEL', draft, 'fb:content:' .. id)
    hold(id, job, RECORD_BYTES + math.max(0, job.asked) + (kept and draft_bytes or 0))
  end
  if job.asked > 0 then
    redis.call('PEXPIRE', 'fb:asked:' .. id, retention_ms)
  end
  if repeat_key then
    redis.call('PEXPIRE', repeat_key, retention_ms)
  end
  account('promised', id, -answer_bytes_of(job))
  if job.bulk ~= '' then
    count_in_bulk(id, job, state, promoted and '' or redis.call('HGET', key, 'receipt') or '')
  end
  wake(id, state)
  tell_webhooks(id, job, state)
  return state
end

-- End a job whose record was damaged. Without a `note`, nothing leads to it any more.
local function fail_damaged(id, job, retention_ms, note)
  finish(id, job, 'failed', retention_ms, 'error', 'invalid_job',
    'error_note', note or 'its record is damaged and leads to no queue')
end

-- End a job whose deadline has passed.
local function expire(id, job, retention_ms)
  finish(id, job, 'expired', retention_ms, 'error', 'expired',
    'error_note', 'its deadline passed before there was an answer')
end

-- End a job that has no attempts left. `code`: the error of the last attempt, whose note is in the
-- record; empty if the worker did not live to report it.
local function fail_used_up(id, job, retention_ms, code)
  if code ~= '' then
    return finish(id, job, 'failed', retention_ms, 'error', code)
  end
  finish(id, job, 'failed', retention_ms, 'error', 'engine_died',
    'error_note', 'the worker of its last attempt died, hung or lost touch with Redis')
end

-- Put a job back among those that wait, and ring for it.
local function queue_up(id, job, queue, bell, ...)
  local now = now_ms()
  if not is_queue(queue) then
    error('queue: must be a queue of the fleet')
  end
  check_types(id, queue, job.priority)
  take_out('fb:leases', id)
  take_out('fb:later', id)
  local worked = job.worked_ms + (job.state == 'running' and now - job.started or 0)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'hop', hop_of(queue), 'queue', queue, 'queued', now,
    'worked_ms', worked, 'token', '', ...)
  redis.pcall('SADD', 'fb:queues', queue)
  enqueue(id, queue, job.priority, job.deadline, job.created_us)
  ring_for(id, queue, job.priority, bell)
end

-- Return the queue into which a job is put back: its own, or the router's if its record names a pool
-- that the fleet does not know. The record may be forged.
local function home(job)
  if string.sub(job.queue, 1, 6) ~= 'local.' or redis.call('SISMEMBER', 'fb:queues', job.queue) == 1 then
    return job.queue
  end
  return 'route'
end

-- The fence: return the record if the token still holds the job, otherwise nil or false.
local function held(id, token)
  local job = read(id)
  return job and job.state == 'running' and job.token == token and job
end

-- Return why no new job is accepted: {'moved', fleet} (the tenant's jobs belong to another fleet) |
-- {'full', depth} | {'memory', percent} | {'promised', bytes} | {'quota', bytes}; false if it is. `answer_bytes`: what its answer will take. Other producers may have falsified the
-- stored depth, so the jobs are counted before one is refused. The bytes of other tenants are those
-- that the last sweep counted, which bounds what a tenant can pretend.
local function refusal(id, queue, max_waiting, answer_bytes)
  local moved = 'fb:moved:' .. tenant_of(id)
  local readable, fence = pcall(once, moved, 'GET', moved)
  if readable and fence then
    return { 'moved', string.match(fence, '^%S*') }
  end
  local jobs, shards = depth_of(queue), depth_of(queue .. ':rows')
  if jobs + shards >= number(max_waiting) then
    if gathered then
      write_gathered()
    end
    local counted = waiting_in(queue .. ':interactive') + waiting_in(queue .. ':bulk')
    local counted_shards = waiting_in(queue .. ':rows')
    count(queue, 'bulk', counted - jobs)
    count(queue, 'rows', counted_shards - shards)
    if counted + counted_shards >= number(max_waiting) then
      return { 'full', tostring(counted + counted_shards) }
    end
  end
  local used, tenant = once('full', 'GET', 'fb:full'), tenant_of(id)
  if used then
    return { 'memory', used }
  end
  local free, quota = once('free', 'GET', 'fb:free'), once('quota', 'GET', 'fb:quota')
  local counted = once('counted ' .. tenant, 'HMGET', 'fb:counted', '*', tenant, tenant .. ' held')
  local others = math.max(0, number(counted[1]) - number(counted[2]))
  local own, held = counted_by('promised', tenant) + answer_bytes, counted_by('held', tenant)
  if quota and held + own > number(quota) then
    return { 'quota', string.format('%.0f', held + own) }
  end
  local since = counted[3] and math.max(0, held - number(counted[3])) or 0 -- not yet in `free`
  local promised = own + others + since
  return free and promised > number(free) and { 'promised', string.format('%.0f', promised) }
end

-- Raise an error, before anything is written, unless a producer may name these for a new job.
local function check_new(id, queue, bell)
  if #bell > MAX_BELL_BYTES then
    error('bell: must have at most ' .. MAX_BELL_BYTES .. ' bytes')
  elseif not is_id(id) then
    error('id: must be the id of a job')
  elseif queue ~= 'route' then
    error('queue: every job begins at the router')
  end
end

-- Return the fields of a new record that its producer gives, from a list (key, value, key, value).
-- Fields that workers and scripts write are not taken over, and values are put into their form.
local function given_fields(list)
  local values = {}
  for i = 1, #list, 2 do
    values[list[i]] = list[i + 1]
  end
  local deadline = number(values.deadline)
  local rows = math.max(0, math.min(number(values.rows), MAX_ROWS))
  return {
    rows = rows, -- of a shard; a shard without a bulk is an ordinary job, which no worker can open
    bulk = rows > 0 and is_id(values.bulk) and values.bulk or '',
    kind = values.kind or '',
    pin = (values.pin == 'local' or values.pin == 'bedrock' or values.pin == 'model') and values.pin or '',
    egress = values.egress == 'allow' and 'allow' or 'deny',
    priority = (rows > 0 or values.priority == 'bulk') and 'bulk' or 'interactive',
    deadline = deadline > 0 and string.format('%.0f', deadline) or '',
    answer_bytes = math.max(0, math.min(number(values.answer_bytes), MAX_ANSWER_BYTES)),
    traceparent = string.match(values.traceparent or '', '^00%-%x+%-%x+%-%x%x$') or '',
    contract = math.max(1, number(values.contract)), -- producers of the first version name none
  }
end

-- Return why the lane of a job is no question, and whether that lane is Bedrock; nil if a router has
-- to decide. `denied`: the policy keeps all content of the tenant in the building. `open`: it allows
-- a model on Bedrock.
local function known_lane(job, denied, open)
  if job.pin == 'model' then
    return nil, false -- a router knows who serves the model that the job or the shard names
  elseif job.rows > 0 and job.bulk ~= '' then
    return 'bulk', false
  elseif job.kind == 'embed' then
    return 'embed_is_local', false
  elseif job.egress ~= 'allow' then
    return 'egress_denied', false
  elseif denied then
    return job.pin ~= 'bedrock' and 'tenant_forced_deny' or nil, false -- the router says why not
  elseif job.pin == 'local' then
    return 'pinned_local', false
  elseif job.pin == 'bedrock' and open then
    return 'pinned_bedrock', true
  end
end

-- Return the queue of a job's lane, its egress and the reasons, if its lane is no question by what the
-- routers have published; nil if a router has to decide. The second value of nil says that the
-- caller may not read what they have published.
-- `job`: with rows, bulk, kind, egress and pin.
local function direct(id, job)
  local tenant = tenant_of(id)
  local own = tenant .. '/' .. job.kind
  local readable, lanes = pcall(once, own, 'HMGET', 'fb:lanes', 'epoch', own, '/' .. job.kind,
    tenant .. '/deny', '/deny', tenant .. '/bedrock', '/bedrock')
  if not readable or not lanes[1] then
    return nil, not readable
  end
  local queue, denied = lanes[2] or lanes[3], (lanes[4] or lanes[5]) ~= '0'
  local reason, up = known_lane(job, denied, (lanes[6] or lanes[7]) == '1')
  if not reason or not queue or not is_queue(queue) then
    return nil
  end
  return up and 'bedrock' or queue, denied and 'deny' or job.egress, 'routed_at_submit,' .. reason
end

-- Create a job and ring for it.
-- `given`: the fields of its record that its producer gives. `...`: further fields.
local jobs_put_on = 0
local function put_on(id, queue, bell, content, given, ...)
  -- The clock stands still while a script runs, and jobs are worked in the order of their creation.
  local created_us, deadline = now_us() + jobs_put_on, number(given.deadline)
  jobs_put_on = jobs_put_on + 1
  local now = math.floor(created_us / 1000)
  local class = given.bulk ~= '' and 'rows' or given.priority
  check_types(id, queue, class)
  local fields = { 'kind', given.kind, 'egress', given.egress, 'priority', given.priority,
    'answer_bytes', given.answer_bytes, 'contract', given.contract, 'state', 'waiting',
    'hop', hop_of(queue), 'queue', queue, 'created', now,
    'created_us', string.format('%.0f', created_us), 'queued', now, 'bytes', RECORD_BYTES + #content }
  local others = { 'deadline', given.deadline, 'bulk', given.bulk, 'pin', given.pin,
    'rows', given.bulk ~= '' and given.rows or '',
    'traceparent', #given.traceparent == TRACEPARENT_BYTES and given.traceparent or '', ... }
  for i = 1, #others, 2 do
    if others[i + 1] ~= '' then -- a field that is not there reads as empty, or as 0
      fields[#fields + 1], fields[#fields + 2] = others[i], others[i + 1]
    end
  end
  redis.call('HSET', job_key(id), unpack(fields))
  redis.call('SET', 'fb:content:' .. id, content)
  account('held', id, RECORD_BYTES + #content)
  if deadline > 0 then
    put_in(deadlines_key(tenant_of(id)), deadline, id)
  end
  account('promised', id, given.answer_bytes)
  enqueue(id, queue, class, deadline, created_us)
  ring_for(id, queue, class, bell)
end
