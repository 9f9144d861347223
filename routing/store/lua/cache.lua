#!lua
-- Keep the answer of a job in the answer cache, unless the job was forgotten meanwhile, and note with
-- the job which key holds it. -> 1 | 0
local id, key, answer, ttl_ms = unpack(ARGV)
if redis.call('EXISTS', job_key(id)) == 0 then
  return 0
end
redis.call('SET', 'fb:cached:' .. id, key, 'PX', ttl_ms) -- for forget.lua
redis.call('SET', key, answer, 'PX', ttl_ms)
return 1
