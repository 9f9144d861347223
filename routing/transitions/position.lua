#!lua flags=allow-oom
-- How many jobs would be claimed before this one if nothing else came, and how many wait there.
-- A tenant's r-th job is claimed at virtual time (time served + r); ties go by name, as in a claim.
-- -> {position or -1 (it does not wait), depth, served}
local id = ARGV[1]
local job = redis.call('HMGET', job_key(id), 'queue', 'priority', 'state')
if not job[1] then
  return nil
end
local queue, class = job[1], job[2]
local depth = tonumber(redis.call('HGET', 'fb:depth', queue) or 0)
local served = redis.call('ZCOUNT', 'fb:serving:' .. queue, now_ms(), '+inf')
local rank = job[3] == 'waiting' and redis.call('ZRANK', waiting_key(queue, class, id), id)
if not rank then
  return { -1, depth, served }
end
local tenant = string.match(id, '^[^.]*')
local turn = 'fb:turn:' .. queue .. ':' .. class
local mine = redis.call('ZSCORE', turn, tenant) + rank
local before = rank
local turns = redis.call('ZRANGE', turn, 0, -1, 'WITHSCORES')
for i = 1, #turns, 2 do
  local other, score = turns[i], tonumber(turns[i + 1])
  if other ~= tenant then
    local ahead = math.max(0, math.ceil(mine - score))
    if score + ahead == mine and other < tenant then
      ahead = ahead + 1
    end
    before = before + math.min(ahead, redis.call('ZCARD', 'fb:waiting:' .. queue .. ':' .. class .. ':' .. other))
  end
end
if class == 'bulk' then
  local first = redis.call('ZRANGE', 'fb:turn:' .. queue .. ':interactive', 0, -1)
  for _, other in ipairs(first) do
    before = before + redis.call('ZCARD', 'fb:waiting:' .. queue .. ':interactive:' .. other)
  end
end
return { before, depth, served }
