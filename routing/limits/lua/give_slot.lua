#!lua flags=allow-oom
-- Give back the slot of a call, and learn from how the call ended (AIMD). `ok` lets one more call run
-- at once after as many as run at once. `throttled` halves their number, and the model rests. After
-- some `failed` calls in a row it rests too, and one call then probes it (half-open). Either counts
-- once for all calls that began before: calls that fail together show one fault. `unused` only gives
-- the slot back.
-- `tokens_back`: those that were taken and not used; below 0 if more were used.
-- -> {ms for which the model rests, 1 if it did not rest before}
--
-- Keys:  see take_slot.lua
--        fb:spillway:resting  zset  model -> ms until which it rests
local TRIPS, MAX_DOUBLINGS, KEEP_MS = 3, 10, 7200000
local FIRST_THROTTLE_MS, MAX_THROTTLE_MS = 500, 20000
local FIRST_REST_MS, MAX_REST_MS = 5000, 60000
local RESTING = 'fb:spillway:resting'
local model, call, job, token, ending = unpack(ARGV)
local retry_after_ms, max_calls, tokens_back = number(ARGV[6]), number(ARGV[7]), number(ARGV[8])
local load, slots = 'fb:spillway:load:' .. model, 'fb:spillway:slots:' .. model
local member, now = call .. ' ' .. job .. ' ' .. token, now_ms()
local busy = redis.call('ZCARD', slots)
local state = redis.call('HMGET', load, 'window', 'cuts', 'fails', 'throttles', 'rest_until', 'tokens',
  'probe')
local is_new = number(redis.call('ZSCORE', slots, member) or -1) == number(state[2])
local window = math.min(max_calls, tonumber(state[1] or '') or max_calls)
local fails, throttles, rest_until = number(state[3]), number(state[4]), number(state[5])

-- Return the ms of the n-th wait in a row: doubling, and never less than the service asks for.
local function wait(n, first_ms, max_ms)
  return math.max(retry_after_ms, math.min(max_ms, first_ms * 2 ^ math.min(n - 1, MAX_DOUBLINGS)))
end

redis.call('ZREM', slots, member)
if tonumber(state[6] or '') and tokens_back ~= 0 then
  redis.call('HSET', load, 'tokens', string.format('%.6f', state[6] + tokens_back))
end
if ending == 'ok' then
  window, fails, throttles = math.min(max_calls, window + 1 / window), 0, 0
elseif ending == 'throttled' then
  if is_new then
    window = math.max(1, math.min(window, busy) / 2)
    throttles = throttles + 1
    redis.call('HINCRBY', load, 'cuts', 1)
  end
  rest_until = math.max(rest_until, now + wait(math.max(1, throttles), FIRST_THROTTLE_MS, MAX_THROTTLE_MS))
elseif ending == 'failed' and is_new then
  fails = fails + 1
  if fails >= TRIPS then
    rest_until = math.max(rest_until, now + wait(fails - TRIPS + 1, FIRST_REST_MS, MAX_REST_MS))
    redis.call('HINCRBY', load, 'cuts', 1)
  end
end
redis.call('HSET', load, 'window', string.format('%.6f', window), 'fails', fails, 'throttles', throttles,
  'rest_until', string.format('%.0f', rest_until))
if state[7] == member then
  redis.call('HDEL', load, 'probe', 'probe_until')
end
redis.call('PEXPIRE', load, KEEP_MS)
if rest_until > now then
  redis.call('ZADD', RESTING, rest_until, model)
  redis.call('PEXPIRE', RESTING, KEEP_MS)
end
redis.call('ZREMRANGEBYSCORE', RESTING, '-inf', now)
return { math.max(0, rest_until - now), number(state[5]) <= now and 1 or 0 }
