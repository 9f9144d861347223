#!lua flags=allow-oom
-- Store a short value, also while memory is full: what shuts Bedrock must hold then.
-- `for_ms`: how long; 0 for ever. `only_new`: 1 to leave a value that is there.
-- -> 1 | 0 (there was one)
local key, value, for_ms, only_new = unpack(ARGV)
local options = {}
if tonumber(for_ms) > 0 then
  options = { 'PX', for_ms }
end
if only_new == '1' then
  options[#options + 1] = 'NX'
end
return redis.call('SET', key, value, unpack(options)) and 1 or 0
