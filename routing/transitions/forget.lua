#!lua flags=allow-oom
-- Leave nothing of a job, whatever its state; not the answer that it lent to the cache either. -> 1 | 0 (no such job)
local id = ARGV[1]
local key = job_key(id)
local job = redis.call('HMGET', key, 'state', 'idempotency')
if not job[1] then
  return 0
end
if not ended(job[1]) then
  finish(id, 'cancelled', 1000, 'error', 'cancelled')
end
if job[2] and job[2] ~= '' then
  redis.call('DEL', job[2])
end
local cached = redis.call('GET', 'fb:cached:' .. id)
if cached then
  redis.call('DEL', cached, 'fb:cached:' .. id)
end
redis.call('DEL', key, 'fb:content:' .. id, 'fb:answer:' .. id, 'fb:draft:' .. id, 'fb:watchers:' .. id)
return 1
