#!lua flags=allow-oom
-- Return how many jobs would be claimed before this job if no other job came, how many jobs wait in
-- its queue, and how many workers serve it.
-- A tenant's r-th job is claimed at virtual time (time served + r); ties go by name, as in a claim.
-- -> {position (-1 if the job does not wait), depth, workers} | nil (no such job)
local id = ARGV[1]
local job = read(id)
if not job then
  return nil
end
local queue, class = job.queue, job.priority
local depth = number(redis.call('HGET', 'fb:depth', class == 'rows' and queue .. ':rows' or queue))
local workers = redis.call('ZCOUNT', 'fb:serving:' .. queue, now_ms(), '+inf')
local rank = job.state == 'waiting' and redis.call('ZRANK', waiting_key(queue, class, id), id)
if not rank then
  return { -1, depth, workers }
end
local tenant = tenant_of(id)

-- Return the virtual time of each tenant with a turn; newcomers get theirs at the clock's time.
local function times()
  local place, found = queue .. ':' .. class, {}
  local most = class == 'rows' and MAX_ROWS or 1
  local now = number(redis.call('HGET', 'fb:clock', place))
  for _, name in ipairs(redis.call('SRANDMEMBER', 'fb:newcomers:' .. place, MAX_NEWCOMERS)) do
    found[name] = now
  end
  local turns = redis.call('ZRANGE', 'fb:turn:' .. place, 0, -1, 'WITHSCORES')
  for i = 1, #turns, 2 do
    found[turns[i]] = math.max(now - most, math.min(now + most, tonumber(turns[i + 1])))
  end
  return found
end

local found = times()
local mine = (found[tenant] or 0) + rank
local before = rank
for other, score in pairs(found) do
  if other ~= tenant then
    local ahead = math.max(0, math.ceil(mine - score))
    if score + ahead == mine and other < tenant then
      ahead = ahead + 1
    end
    local waiting = 'fb:waiting:' .. queue .. ':' .. class .. ':' .. other
    before = before + math.min(ahead, redis.call('ZCARD', waiting))
  end
end
if class == 'bulk' then
  class = 'interactive'
  for other in pairs(times()) do
    before = before + redis.call('ZCARD', 'fb:waiting:' .. queue .. ':interactive:' .. other)
  end
end
return { before, depth, workers }
