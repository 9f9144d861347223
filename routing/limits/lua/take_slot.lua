#!lua flags=allow-oom
-- Take a slot for a call of a model, if the model rests from no fault, for all or for the tenant, and
-- has a slot, a request and tokens left. All of it or nothing is taken.
-- A limit of 0 is none.
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
--        fb:spillway:slots:<model>  zset  '<call> <job> <token of its claim>' -> all `cuts` at its start
local MINUTE_MS, PROBE_MS, BUSY_MS, PRUNE_MS, KEEP_MS = 60000, 30000, 100, 500, 7200000
local MAX_PROBE_WAIT_MS = 5000 -- before another call looks whether the probe has ended
local model, call, job, token = unpack(ARGV)
local max_calls, max_requests, max_tokens = number(ARGV[5]), number(ARGV[6]), number(ARGV[7])
local wanted = number(ARGV[8])
local load, slots = 'fb:spillway:load:' .. model, 'fb:spillway:slots:' .. model
local breakers = { load, load .. ' ' .. tenant_of(job) }
local now = now_ms()
local state = redis.call('HMGET', load, 'window', 'requests', 'tokens', 'at', 'pruned_at')
local busy = redis.call('ZCARD', slots)

-- Return what is left of a limit a minute: it fills up evenly.
local function left(stored, limit)
  local passed = math.max(0, now - number(state[4]))
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
if busy >= window and now - number(state[5]) >= PRUNE_MS then
  busy = pruned()
end
if busy >= window then
  return { 0, BUSY_MS, 'calls' }
end
local requests, tokens = left(state[2], max_requests), left(state[3], max_tokens)
if max_requests > 0 and requests < 1 then
  return { 0, wait(1 - requests, max_requests), 'requests' }
end
local needed = math.min(wanted, max_tokens) -- more than a whole minute's passes once it is unused
if max_tokens > 0 and tokens < needed then
  return { 0, wait(needed - tokens, max_tokens), 'tokens' }
end
local member = call .. ' ' .. job .. ' ' .. token
redis.call('ZADD', slots, cuts, member)
-- Without a limit nothing is counted, lest a limit that is set later begins with a debt.
redis.call('HSET', load, 'at', now,
  'requests', max_requests > 0 and string.format('%.6f', requests - 1) or '',
  'tokens', max_tokens > 0 and string.format('%.6f', tokens - wanted) or '')
for _, breaker in ipairs(probed) do
  redis.call('HSET', breaker, 'probe', member, 'probe_until', now + PROBE_MS)
end
redis.call('PEXPIRE', load, KEEP_MS)
redis.call('PEXPIRE', slots, KEEP_MS)
return { 1, #probed > 0 and 1 or 0 }
