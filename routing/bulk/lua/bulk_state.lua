#!lua flags=allow-oom
-- Set the state of a bulk, also while memory is full: whoever cancels a bulk makes room. A bulk that has
-- ended stays so: a retry may complete what a bulk left, and nothing lets a cancelled one go on. The end of
-- a bulk is written once to the stream of its tenant's webhooks, if it has any.
-- -> the state of the bulk now; empty if there is no such bulk
local id, state = unpack(ARGV)
local STATES = { running = 'lives', paused = 'lives', cancelled = 'cancelled', done = 'over', incomplete = 'over' }
if not is_id(id) or not STATES[state] then
  error('state: must be that of a bulk')
end
local key = 'fb:bulk:' .. id
if redis.call('EXISTS', key) == 0 then
  return ''
end
local before = redis.call('HGET', key, 'state')
local was = STATES[before] or 'lives'
if before == state or was ~= 'lives' and was ~= STATES[state] then
  return before
end
redis.call('HSET', key, 'state', state)
if STATES[state] ~= 'lives' then
  tell_of_end(id, state, 'bulk')
end
return state
