#!lua flags=allow-oom
-- Decide whether a job goes to Bedrock now: record its score, and move the controller.
-- -> {go (1 or 0), threshold or '', aim, rank}; nothing if there is neither a target nor an override
--
-- `stage` is `before` the local answer, `after` it, or `hard`: the answer failed its checks, so the
-- job goes whatever the pace is, and counts. Each stage has an account of its own, since a job may
-- wait for long between the two.
--
-- This is an integral controller with a feed-forward term. `fair` is the share that should go now.
-- `owed` is the sum, over all jobs, of the share due less the jobs that went. It shifts the aim, and
-- is clamped, so that old debts do not rule over new traffic (no wind-up).
--
-- Keys. All expire KEEP_S after the last offer:
--   fb:pace:tenants                        zset    tenant -> time of its last offer (s)
--   fb:pace:tenant:<tenant>                hash    the accounts, and what `router status` shows
--   fb:pace:scores:<tenant>:<kind>:<stage> zset    slot -> score: the last RING scores
--   fb:pace:override:<tenant or *>:<kind>:<stage>  string  'threshold X' | 'share S' | 'off'
-- `jobs` is the number of jobs that this one stands for: its worker has counted those that came since
-- it asked last, and had neither.
local tenant, kind, stage, jobs, score, tie, share, part, usd, call, hourly, now = unpack(ARGV)
local RING = 128 -- scores from which the quantile is taken
local OWED = 15 -- jobs owed that move the aim from none to all
local RECENT = 500 -- jobs over which shares are averaged
local HOUR, DAY = 3600, 86400
local KEEP_S = 8 * DAY
local gate = stage == 'hard' and 'after' or stage
local key = 'fb:pace:tenant:' .. tenant
local scores = 'fb:pace:scores:' .. tenant .. ':' .. kind .. ':' .. gate
local own = kind .. ':' .. gate .. ':'

local function within(value, low, high)
  return math.max(low, math.min(high, value))
end

local function override()
  for _, owner in ipairs({ tenant, '*' }) do
    local text = redis.call('GET', 'fb:pace:override:' .. owner .. ':' .. kind .. ':' .. gate)
    if text then
      local word, value = string.match(text, '^(%l+) ?(%S*)$')
      return word, tonumber(value)
    end
  end
end

local word, value = override()
-- An overridden share has an account of its own, so that other kinds do not pay for it.
local book = word == 'share' and kind .. ':' or ''
local names = { owed = book .. gate .. ':owed', hard = book .. 'hard', judged = book .. 'judged',
  all_paced = book .. gate .. ':paced', all_went = book .. gate .. ':went',
  seen = own .. 'seen', paced = own .. 'paced', went = own .. 'went', load = 'load', at = 'at' }
local order, fields, was = {}, {}, {} -- `was`: the state before this job
for name, field in pairs(names) do
  order[#order + 1], fields[#fields + 1] = name, field
end
for i, text in ipairs(redis.call('HMGET', key, unpack(fields))) do
  was[order[i]] = tonumber(text or 0) or 0
end
local writes = {}
local function write(name, to)
  writes[#writes + 1] = names[name]
  writes[#writes + 1] = string.format('%.17g', to)
end

-- The number of jobs that come in an hour, as an exponentially decayed count.
local function jobs_an_hour()
  local count = was.load * math.exp(-math.max(0, now - was.at) / HOUR)
  if stage == 'before' then
    count = count + jobs
    write('load', count)
    write('at', now)
  end
  return count
end

local function waiting(queue)
  local base = 'fb:waiting:' .. queue .. ':'
  return redis.call('ZCARD', base .. 'interactive:' .. tenant)
    + redis.call('ZCARD', base .. 'bulk:' .. tenant)
end

-- The mean cost of a call, today and yesterday. Audits are left out, because they are short. The
-- assumed cost counts as one call.
local function mean_cost(day)
  local money, calls = tonumber(call), 1
  for _, books in ipairs({ 'fb:spend:day:' .. day - 1, 'fb:spend:day:' .. day }) do
    local known = redis.call('HMGET', books, tenant .. ':settled', tenant .. ':audit:settled',
      tenant .. ':calls', tenant .. ':audit:calls')
    money = money + (known[1] or 0) - (known[2] or 0)
    calls = calls + (known[3] or 0) - (known[4] or 0)
  end
  return money / calls
end

-- The share that the day's money affords. What is left of the money is spread over the rest of the
-- day by its shape; the part of an hour (`hourly`) is spread over the jobs expected in an hour.
local function affordable()
  local day = math.floor(now / DAY)
  local cost = math.max(mean_cost(day), 1)
  local books = redis.call('HMGET', 'fb:spend:day:' .. day,
    tenant .. ':settled', tenant .. ':reserved')
  local left = usd - (books[1] or 0) - (books[2] or 0) - waiting('bedrock') * cost
  local jobs = math.max(1, jobs_an_hour() + waiting('route'))
  return left < cost and 0 or math.min(1, left * hourly / (cost * jobs))
end

local target = nil
if word == 'share' then
  target = value
elseif word == nil then
  target = tonumber(share)
  if usd ~= '' then
    target = math.min(target or 1, affordable())
  end
end

-- The share due at this stage, and the fair share of the jobs that are offered there. `before` gets
-- its part of the target, or less if hard jobs need more than the rest.
local function aims()
  local hard = math.min(was.hard, 0.99)
  local before = within((target - hard) / (1 - hard), 0, part * target)
  local after = before < 1 and (target - before) / (1 - before) or 1
  if gate == 'before' then
    return before, before
  end
  return after, within((after - hard) / (1 - hard), 0, 1)
end

-- The share of recent scores above this score. It is uniform while the traffic stays the same,
-- because `tie` orders equal scores.
local function rank(seen)
  local above = redis.call('ZCOUNT', scores, '(' .. score, '+inf')
  local equal = redis.call('ZCOUNT', scores, score, score)
  return (above + tie * (equal + 1)) / (seen + 1)
end

local function score_at(place)
  return redis.call('ZREVRANGE', scores, place, place, 'WITHSCORES')[2]
end

local seen = redis.call('ZCARD', scores)
redis.call('ZCARD', 'fb:pace:tenants') -- a key of a wrong type is an error before any write
local due, aim, place, threshold, go = 0, 1, 0, '', stage == 'hard'
if stage ~= 'hard' and (target or word == 'threshold') then
  place = rank(seen)
end
if target then
  local fair
  due, fair = aims()
  aim = target > 0 and within(fair + was.owed / OWED, 0, 1) or 0
  -- No score separates jobs if none may go, or all may.
  threshold = aim > 0 and score_at(math.floor(aim * seen)) or ''
  go = go or place < aim
elseif word == 'threshold' then
  threshold = tostring(value)
  go = go or tonumber(score) >= value
end

-- The writes begin here.
if stage ~= 'hard' then
  redis.call('ZADD', scores, score, seen < RING and seen or was.seen % RING)
  redis.call('EXPIRE', scores, KEEP_S)
end
write('seen', was.seen + (stage == 'hard' and 0 or jobs))
-- Move an average of yes and no. The field `counted` holds how many it averages, up to RECENT.
local function average(name, counted, yes)
  local count = math.min(was[counted] + jobs, RECENT)
  write(counted, count)
  write(name, was[name] + ((yes and 1 or 0) - was[name]) * math.min(1, jobs / count))
end
if gate == 'after' then
  average('hard', 'judged', stage == 'hard')
end
if target then
  write('owed', within(was.owed + due - (go and 1 or 0), -OWED, OWED))
  average('all_went', 'all_paced', go)
end
if target or word == 'threshold' then
  average('went', 'paced', go)
end
redis.call('HSET', key, own .. 'threshold', threshold, own .. 'aim', aim, unpack(writes))
redis.call('EXPIRE', key, KEEP_S)
redis.call('ZADD', 'fb:pace:tenants', now_ms() / 1000, tenant)
redis.call('ZREMRANGEBYSCORE', 'fb:pace:tenants', '-inf', now_ms() / 1000 - KEEP_S)
if not target and word ~= 'threshold' then
  return nil
end
return { go and 1 or 0, threshold, tostring(aim), tostring(place) }
