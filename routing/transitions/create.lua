#!lua
-- A job and its doorbell come to be together or not at all.
-- -> {'created', id} | {'known', id} | {'conflict', id} | {'full', depth}
local id, queue, bell, content, idempotency, digest, watcher, max_waiting = unpack(ARGV, 1, 8)
local fields = { unpack(ARGV, 9) }
local key = job_key(id)

if idempotency ~= '' then
  local known = redis.call('GET', idempotency)
  if known then
    local first, first_digest = string.match(known, '^(%S+) (%S+)$')
    if first_digest ~= digest then
      return { 'conflict', first }
    end
    if redis.call('EXISTS', job_key(first)) == 1 then
      if watcher ~= '' and not ended(redis.call('HGET', job_key(first), 'state')) then
        redis.call('SADD', 'fb:watchers:' .. first, watcher)
      end
      return { 'known', first }
    end
  end
end
if redis.call('EXISTS', key) == 1 then
  return { 'known', id }
end
local depth = tonumber(redis.call('HGET', 'fb:depth', queue) or 0)
if depth >= tonumber(max_waiting) then
  return { 'full', tostring(depth) }
end
redis.call('LLEN', queue)

local now = now_ms()
redis.call('HSET', key, 'state', 'waiting', 'hop', 'route', 'queue', queue, 'created', now,
  'queued', now, 'queued_ms', 0, 'worked_ms', 0, 'attempts', 0, 'fence', 0, 'token', '',
  'reasons', '', 'idempotency', idempotency, unpack(fields))
redis.call('SET', 'fb:content:' .. id, content)
if idempotency ~= '' then
  redis.call('SET', idempotency, id .. ' ' .. digest)
end
local record = redis.call('HMGET', key, 'priority', 'deadline')
if record[2] ~= '' then
  redis.call('ZADD', 'fb:deadlines', record[2], id)
end
if watcher ~= '' then
  redis.call('SADD', 'fb:watchers:' .. id, watcher)
end
enqueue(id, queue, record[1], record[2])
ring(queue, bell)
return { 'created', id }
