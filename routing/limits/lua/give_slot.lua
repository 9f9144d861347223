#!lua flags=allow-oom
-- Give back the slot of a call, and learn from how the call ended (AIMD). `ok` lets one more call run
-- at once after as many as run at once. `throttled` halves their number, and the model rests. After
-- some `failed` calls of a tenant in a row the model rests too, and one call then probes it
-- (half-open): for this tenant alone, since its calls may fail for what they say. It rests for all if
-- the calls of a second tenant fail as often, or no other tenant was served lately. Each ending counts
-- once for all calls that began before: calls that fail together show one fault. `unused` only gives
-- the slot back.
-- `tokens_back`: those that were taken and not used; below 0 if more were used.
-- -> {ms for which the model rests for this tenant, 1 if it did not rest before, 1 if it rests for all}
--
-- Keys:  see take_slot.lua
--        fb:spillway:resting  zset  model -> ms until which it rests for all
--        fb:spillway:resting:tenants  zset  '<model> <tenant>' -> ms until which it rests for the tenant
--        fb:spillway:failing:<model>  set  tenants for which it failed, since it answered anybody
--        fb:spillway:served:<model>  zset  tenant -> ms at which it last answered the tenant
local TRIPS, MAX_DOUBLINGS, KEEP_MS, SERVED_MS = 3, 10, 7200000, 600000
local FIRST_THROTTLE_MS, MAX_THROTTLE_MS = 500, 20000
local FIRST_REST_MS, MAX_REST_MS = 5000, 60000
local RESTING, RESTING_FOR_ONE = 'fb:spillway:resting', 'fb:spillway:resting:tenants'
local model, call, job, token, ending = unpack(ARGV)
local retry_after_ms, max_calls, tokens_back = number(ARGV[6]), number(ARGV[7]), number(ARGV[8])
local load, slots = 'fb:spillway:load:' .. model, 'fb:spillway:slots:' .. model
local failing, served = 'fb:spillway:failing:' .. model, 'fb:spillway:served:' .. model
local tenant = tenant_of(job)
local own = load .. ' ' .. tenant
local member, now = call .. ' ' .. job .. ' ' .. token, now_ms()
local busy = redis.call('ZCARD', slots)
local began = number(redis.call('ZSCORE', slots, member) or -1)
local state = redis.call('HMGET', load, 'window', 'tokens')
local window = math.min(max_calls, tonumber(state[1] or '') or max_calls)

local function get(breaker, field)
  return number(redis.call('HGET', breaker, field))
end

-- Let a breaker rest. The n-th rest in a row doubles, and is never less than the service asks for.
local function rest(breaker, counter, first_ms, max_ms)
  local n = math.max(1, get(breaker, counter))
  local wait_ms = math.max(retry_after_ms, math.min(max_ms, first_ms * 2 ^ math.min(n - 1, MAX_DOUBLINGS)))
  local rest_until = math.max(get(breaker, 'rest_until'), now + wait_ms)
  redis.call('HSET', breaker, 'rest_until', string.format('%.0f', rest_until))
end

local function others_were_served()
  redis.call('ZREMRANGEBYSCORE', served, '-inf', now - SERVED_MS)
  return redis.call('ZCARD', served) > (redis.call('ZSCORE', served, tenant) and 1 or 0)
end

local is_new = began == get(load, 'cuts') + get(own, 'cuts')
local rested = math.max(get(load, 'rest_until'), get(own, 'rest_until')) > now
redis.call('ZREM', slots, member)
if tonumber(state[2] or '') and tokens_back ~= 0 then
  redis.call('HSET', load, 'tokens', string.format('%.6f', state[2] + tokens_back))
end
if ending == 'ok' then
  window = math.min(max_calls, window + 1 / window)
  redis.call('HDEL', load, 'throttles', 'rests', 'probe', 'probe_until')
  redis.call('HDEL', own, 'fails', 'rests', 'probe', 'probe_until')
  redis.call('DEL', failing)
  redis.call('ZADD', served, now, tenant)
elseif ending == 'throttled' then
  if is_new then
    window = math.max(1, math.min(window, busy) / 2)
    redis.call('HINCRBY', load, 'throttles', 1)
    redis.call('HINCRBY', load, 'cuts', 1)
  end
  rest(load, 'throttles', FIRST_THROTTLE_MS, MAX_THROTTLE_MS)
elseif ending == 'failed' and is_new and redis.call('HINCRBY', own, 'fails', 1) >= TRIPS then
  redis.call('SADD', failing, tenant)
  local for_all = redis.call('SCARD', failing) > 1 or not others_were_served()
  local breaker = for_all and load or own
  redis.call('HINCRBY', breaker, 'rests', 1)
  redis.call('HINCRBY', breaker, 'cuts', 1)
  rest(breaker, 'rests', FIRST_REST_MS, MAX_REST_MS)
end
redis.call('HSET', load, 'window', string.format('%.6f', window))
for _, breaker in ipairs({ load, own }) do
  if redis.call('HGET', breaker, 'probe') == member then
    redis.call('HDEL', breaker, 'probe', 'probe_until')
  end
end
local all_until, own_until = get(load, 'rest_until'), get(own, 'rest_until')
for key, rests in pairs({ [RESTING] = { all_until, model }, [RESTING_FOR_ONE] = { own_until, model .. ' ' .. tenant } }) do
  if rests[1] > now then
    redis.call('ZADD', key, unpack(rests))
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
end
for _, key in ipairs({ load, own, failing, served, RESTING, RESTING_FOR_ONE }) do
  redis.call('PEXPIRE', key, KEEP_MS)
end
return { math.max(0, math.max(all_until, own_until) - now), rested and 0 or 1, all_until > now and 1 or 0 }
