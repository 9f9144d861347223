#!lua flags=allow-oom
-- Replace the answer that is kept with a running job, or remove it.
-- `rows_over`: of a shard, how many rows the answer holds.
-- -> 1 | 0 (the claim is lost)
local id, token, draft, rows_over = unpack(ARGV)
fleet_only()
if not held(id, token) then
  return 0
end
if draft == '' then
  redis.call('DEL', 'fb:draft:' .. id)
else
  redis.call('SET', 'fb:draft:' .. id, draft)
end
if rows_over then
  redis.call('HSET', job_key(id), 'rows_over', number(rows_over))
end
return 1
