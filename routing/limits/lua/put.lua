#!lua flags=allow-oom
-- Store a short value, also while memory is full: what shuts Bedrock must hold then.
-- `for_ms`: how long; 0 for ever.
local key, value, for_ms = unpack(ARGV)
fleet_only()
if tonumber(for_ms) > 0 then
  return redis.call('SET', key, value, 'PX', for_ms)
end
return redis.call('SET', key, value)
