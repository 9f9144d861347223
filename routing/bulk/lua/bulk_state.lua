#!lua flags=allow-oom
-- Set the state of a bulk, also while memory is full: whoever cancels a bulk makes room. The end of a bulk
-- is written to the stream of its tenant's webhooks, if it has any.
-- -> 1 | 0 (there is no such bulk)
local id, state = unpack(ARGV)
local STATES = { running = false, paused = false, cancelled = true, done = true, incomplete = true }
if not is_id(id) or STATES[state] == nil then
  error('state: must be that of a bulk')
end
local key = 'fb:bulk:' .. id
if redis.call('EXISTS', key) == 0 then
  return 0
end
redis.call('HSET', key, 'state', state)
if STATES[state] then
  tell_of_end(id, state, 'bulk')
end
return 1
