#!lua
-- Take a request and its tokens from what an API key may use in a minute, both or neither. Tokens
-- below 0 are given back, after an answer that took fewer than were taken for it.
-- A limit of 0 is none. A request for more tokens than the whole limit passes once the minute is
-- unused, and the key then waits for longer.
-- -> {1, requests left, tokens left} | {0, ms to wait, 'requests' or 'tokens'}
--
-- Keys:  fb:rate:<key id>  hash  requests, tokens: left; at: ms of the last change
local MINUTE_MS = 60000
local id, requests_limit, tokens_limit = ARGV[1], number(ARGV[2]), number(ARGV[3])
local requests, tokens = number(ARGV[4]), number(ARGV[5])
if not string.match(id, '^[0-9a-f]+$') then
  error('id: must be the id of an API key')
end
local key, now = 'fb:rate:' .. id, now_ms()
local state = redis.call('HMGET', key, 'requests', 'tokens', 'at')
local passed = ms_since(state[3], MINUTE_MS)

-- Return what is left of a limit: it fills up evenly within a minute. What is not limited by this
-- call is left as it was.
local function left(stored, limit)
  local before = tonumber(stored or '') or limit
  return limit > 0 and math.min(limit, before + limit * passed / MINUTE_MS) or before
end

-- Return the ms until `wanted` are left.
local function wait(there, wanted, limit)
  return math.ceil((wanted - there) * MINUTE_MS / limit)
end

local requests_left, tokens_left = left(state[1], requests_limit), left(state[2], tokens_limit)
if requests_limit > 0 and requests > requests_left then
  return { 0, wait(requests_left, requests, requests_limit), 'requests' }
end
local wanted = math.min(tokens, tokens_limit)
if tokens_limit > 0 and wanted > 0 and wanted > tokens_left then
  return { 0, wait(tokens_left, wanted, tokens_limit), 'tokens' }
end
requests_left = requests_left - requests
tokens_left = tokens_limit > 0 and math.min(tokens_limit, tokens_left - tokens) or tokens_left
redis.call('HSET', key, 'requests', string.format('%.6f', requests_left),
  'tokens', string.format('%.6f', tokens_left), 'at', now)
local refill_ms = tokens_limit > 0 and wait(tokens_left, tokens_limit, tokens_limit) or 0
redis.call('PEXPIRE', key, MINUTE_MS + math.max(0, refill_ms))
return { 1, math.floor(requests_left), math.floor(tokens_left) }
