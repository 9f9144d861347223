#!lua flags=allow-oom
-- Take a slot for a call of a model, if the model rests from no fault, for all or for the tenant, and
-- has a slot, a request and tokens left. All of it or nothing is taken.
-- A limit of 0 is none. If calls of several tenants wait, each tenant has a share: a tenant that has as
-- many slots as its share leaves a slot to each tenant that has fewer, and a tenant that took a part
-- of the minute later than others leaves theirs. A tenant alone may take all.
-- -> {1, 1 if the call probes whether a model that failed works again, else 0}
--    {0, ms to wait, 'resting' | 'probing' | 'calls' | 'requests' | 'tokens'}
--
-- Keys:  fb:spillway:load:<model>   hash  window: calls at once that the service seems to take; cuts: how
--                                         often it was halved or began to rest; throttles, rests: in a
--                                         row; rest_until (ms); probe: the slot of the call that probes,
--                                         until probe_until (ms); requests, tokens: left of the minute;
--                                         at: ms of their last change; pruned_at (ms)
--        fb:spillway:load:<model> <tenant>  hash  what the model does for the calls of one tenant:
--                                         fails (in a row); cuts, rests, rest_until, probe, probe_until
--        fb:spillway:asking:<model>  hash  tenant whose last call got no slot -> '<ms until when that
--                                         counts> <tokens that the call needs>'
--        fb:spillway:taken:<model>  zset  tenant -> ms at which it last took a slot
--        fb:spillway:served:<model>  zset  see give_slot.lua
--        fb:spillway:slots:<model>  zset  '<call> <job> <token of its claim>' -> all `cuts` at its start
local MINUTE_MS, PROBE_MS, BUSY_MS, PRUNE_MS, KEEP_MS = 60000, 30000, 100, 500, 7200000
local MAX_PROBE_WAIT_MS = 5000 -- before another call looks whether the probe has ended
local ASKS_MS = 3000 -- after the time at which a call asks again, until it is taken for gone
local MAX_WAIT_MS = 10000 -- of that time, so that a call that was given up holds others up no longer
local RECENT_MS = 5000 -- a tenant that was served so lately keeps a slot for its next call
local MAX_RECENT = 4 -- at most one slot in so many is kept so, but always one
local model, call, job, token = unpack(ARGV)
local max_calls, max_requests, max_tokens = number(ARGV[5]), number(ARGV[6]), number(ARGV[7])
local wanted = number(ARGV[8])
local load, slots = 'fb:spillway:load:' .. model, 'fb:spillway:slots:' .. model
local breakers = { load, load .. ' ' .. tenant_of(job) }
local asking, taken, tenant = 'fb:spillway:asking:' .. model, 'fb:spillway:taken:' .. model, tenant_of(job)
local now = now_ms()
local state = redis.call('HMGET', load, 'window', 'requests', 'tokens', 'at', 'pruned_at')
local busy = redis.call('ZCARD', slots)

-- Return what is left of a limit a minute: it fills up evenly.
local function left(stored, limit)
  local passed = ms_since(state[4], MINUTE_MS)
  return math.min(limit, (tonumber(stored or '') or limit) + limit * passed / MINUTE_MS)
end

-- Return the ms until `missing` of a limit are there.
local function wait(missing, limit)
  return math.max(1, math.ceil(missing * MINUTE_MS / limit))
end

-- Return whether the job of a slot still has its claim; if not, its worker died.
local function alive(slot)
  local _, its_job, its_token = string.match(slot, '^(%S+) (%S+) (%S*)$')
  return its_job and held(its_job, its_token)
end

-- Give back the slots of jobs whose claim is gone. -> slots that are taken
local function pruned()
  redis.call('HSET', load, 'pruned_at', now)
  for _, slot in ipairs(redis.call('ZRANGE', slots, 0, -1)) do
    if not alive(slot) then
      redis.call('ZREM', slots, slot)
    end
  end
  return redis.call('ZCARD', slots)
end

-- Return the tokens that the calls of other tenants need, by tenant, if they wait for this model.
local function others_asking()
  local others, list = {}, redis.call('HGETALL', asking)
  for i = 1, #list, 2 do
    local until_ms, tokens = string.match(list[i + 1], '^(%d+) (%d+)$')
    if number(until_ms) <= now then
      redis.call('HDEL', asking, list[i])
    elseif list[i] ~= tenant then
      others[list[i]] = number(tokens)
    end
  end
  return others
end

-- Return how many slots each tenant has.
local function slots_by_tenant()
  local counts = {}
  for _, slot in ipairs(redis.call('ZRANGE', slots, 0, -1)) do
    local owner = tenant_of(string.match(slot, '^%S+ (%S+)') or '')
    counts[owner] = (counts[owner] or 0) + 1
  end
  return counts
end

-- Return how many slots this tenant leaves to tenants that have less than their share.
local function left_to_others(window, others)
  local recent, names = redis.call('ZRANGEBYSCORE', 'fb:spillway:served:' .. model, now - RECENT_MS, '+inf'), {}
  for name in pairs(others) do
    names[#names + 1] = name
  end
  for _, name in ipairs(recent) do
    if name ~= tenant and not others[name] then
      names[#names + 1] = name
    end
  end
  local counts, share = #names > 0 and slots_by_tenant() or {}, math.max(1, math.floor(window / (#names + 1)))
  if (counts[tenant] or 0) < share then
    return 0
  end
  local waiting, kept = 0, 0
  for _, name in ipairs(names) do
    local lacks = (counts[name] or 0) < share and 1 or 0
    waiting, kept = waiting + (others[name] and lacks or 0), kept + (others[name] and 0 or lacks)
  end
  return waiting + math.min(kept, math.max(1, math.floor(window / MAX_RECENT)))
end

-- Return the requests and the tokens of the minute that are left to tenants which waited longer.
local function left_of_minute(others)
  local requests, tokens, own = 0, 0, number(redis.call('ZSCORE', taken, tenant) or 0)
  for name, needed in pairs(others) do
    if number(redis.call('ZSCORE', taken, name) or 0) < own then
      requests, tokens = requests + 1, tokens + needed
    end
  end
  return requests, tokens
end

-- Refuse a slot: note that the tenant waits.
local function refuse(ms, lacking, needed)
  local until_ms = now + ASKS_MS + math.min(ms, MAX_WAIT_MS)
  redis.call('HSET', asking, tenant, string.format('%.0f %.0f', until_ms, math.max(0, needed)))
  redis.call('PEXPIRE', asking, KEEP_MS)
  return { 0, ms, lacking }
end

local cuts, probed = 0, {}
for _, breaker in ipairs(breakers) do
  local rest = redis.call('HMGET', breaker, 'rest_until', 'probe_until', 'probe', 'rests', 'cuts')
  local rest_ms, probe_ms = number(rest[1]) - now, number(rest[2]) - now
  if rest_ms > 0 then
    return { 0, rest_ms, 'resting' }
  end
  if probe_ms > 0 and rest[3] and alive(rest[3]) then
    return { 0, math.min(probe_ms, MAX_PROBE_WAIT_MS), 'probing' }
  end
  cuts = cuts + number(rest[5])
  probed[#probed + 1] = number(rest[4]) > 0 and breaker or nil
end
local window = math.max(1, math.floor(math.min(max_calls, tonumber(state[1] or '') or max_calls)))
if busy >= window and ms_since(state[5], PRUNE_MS) >= PRUNE_MS then
  busy = pruned()
end
local others = others_asking()
local needed = math.min(wanted, max_tokens) -- more than a whole minute's passes once it is unused
if busy + left_to_others(window, others) >= window then
  return refuse(BUSY_MS, 'calls', needed)
end
local requests, tokens = left(state[2], max_requests), left(state[3], max_tokens)
local requests_kept, tokens_kept = left_of_minute(others)
local requests_lacking = math.min(1 + requests_kept, math.max(1, max_requests)) - requests
local tokens_lacking = math.min(needed + tokens_kept, max_tokens) - tokens
if max_requests > 0 and requests_lacking > 0 then
  return refuse(wait(requests_lacking, max_requests), 'requests', needed)
end
if max_tokens > 0 and tokens_lacking > 0 then
  return refuse(wait(tokens_lacking, max_tokens), 'tokens', needed)
end
local member = call .. ' ' .. job .. ' ' .. token
redis.call('ZADD', slots, cuts, member)
-- Without a limit nothing is counted, lest a limit that is set later begins with a debt.
redis.call('HSET', load, 'at', now,
  'requests', max_requests > 0 and string.format('%.6f', requests - 1) or '',
  'tokens', max_tokens > 0 and string.format('%.6f', tokens - wanted) or '')
redis.call('HDEL', asking, tenant)
redis.call('ZADD', taken, now, tenant)
redis.call('ZREMRANGEBYSCORE', taken, '-inf', now - KEEP_MS)
redis.call('PEXPIRE', taken, KEEP_MS)
for _, breaker in ipairs(probed) do
  redis.call('HSET', breaker, 'probe', member, 'probe_until', now + PROBE_MS)
end
redis.call('PEXPIRE', load, KEEP_MS)
redis.call('PEXPIRE', slots, KEEP_MS)
return { 1, #probed > 0 and 1 or 0 }
