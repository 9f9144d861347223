#!lua flags=allow-oom
-- May this job go up at the present pace? Writes down its score, moves the controller, answers.
-- -> {go (1 or 0), threshold or '', aim, rank}; nothing where no pace is set and none is overridden
--
-- `stage` is `before` the answer, `after` it, or `hard`: the answer failed its checks and the job
-- goes up whatever the pace is, which counts. A stage has its own account, since between the two a
-- job may wait for long. An account is owed its aim for each job and pays one for each that goes.
-- What is owed moves the aim, within bounds, so that old debts do not rule over new traffic.
--
-- Keys, all ending KEEP_S after the last offer:
--   fb:pace:tenants                        zset    tenant -> when it last had an offer (s)
--   fb:pace:tenant:<tenant>                hash    the accounts, and what `router status` shows
--   fb:pace:scores:<tenant>:<kind>:<stage> zset    slot -> score: the last RING of them
--   fb:pace:override:<tenant or *>:<kind>:<stage>  string  'threshold X' | 'share S' | 'off'
local tenant, kind, stage, score, tie, share, part, usd, call, hourly, now = unpack(ARGV)
local RING = 128 -- scores that the quantile is taken of
local OWED = 15 -- jobs owed that move the aim from none to all
local RECENT = 500 -- jobs that shares are averaged over
local HOUR, DAY = 3600, 86400
local KEEP_S = 8 * DAY
local gate = stage == 'hard' and 'after' or stage
local key = 'fb:pace:tenant:' .. tenant
local scores = 'fb:pace:scores:' .. tenant .. ':' .. kind .. ':' .. gate
local own = kind .. ':' .. gate .. ':'

local function within(value, low, high)
  return math.max(low, math.min(high, value))
end

local function overridden()
  for _, owner in ipairs({ tenant, '*' }) do
    local said = redis.call('GET', 'fb:pace:override:' .. owner .. ':' .. kind .. ':' .. gate)
    if said then
      local word, value = string.match(said, '^(%l+) ?(%S*)$')
      return word, tonumber(value)
    end
  end
end

local said, value = overridden()
-- A share that somebody sets by hand is kept apart: other kinds do not pay for it.
local book = said == 'share' and kind .. ':' or ''
local names = { owed = book .. gate .. ':owed', hard = book .. 'hard', judged = book .. 'judged',
  all_paced = book .. gate .. ':paced', all_went = book .. gate .. ':went',
  seen = own .. 'seen', paced = own .. 'paced', went = own .. 'went', load = 'load', at = 'at' }
local order, fields, was = {}, {}, {}
for name, field in pairs(names) do
  order[#order + 1], fields[#fields + 1] = name, field
end
for i, found in ipairs(redis.call('HMGET', key, unpack(fields))) do
  was[order[i]] = tonumber(found or 0) or 0
end
local writes = {}
local function write(name, to)
  writes[#writes + 1] = names[name]
  writes[#writes + 1] = string.format('%.17g', to)
end

-- How many jobs an hour come: each counts for an hour or so.
local function jobs_an_hour()
  local coming = was.load * math.exp(-math.max(0, now - was.at) / HOUR)
  if stage == 'before' then
    coming = coming + 1
    write('load', coming)
    write('at', now)
  end
  return coming
end

local function waiting(queue)
  local base = 'fb:waiting:' .. queue .. ':'
  return redis.call('ZCARD', base .. 'interactive:' .. tenant)
    + redis.call('ZCARD', base .. 'bulk:' .. tenant)
end

-- What a call costs on average, today and yesterday, audits left out: they are short. A guess counts
-- as one.
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

-- The share that the day's money affords: what is left of it is spread over the rest of the day as
-- its shape says, and an hour's part (`hourly`) over the jobs that are to be expected in an hour.
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
if said == 'share' then
  target = value
elseif said == nil then
  target = tonumber(share)
  if usd ~= '' then
    target = math.min(target or 1, affordable())
  end
end

-- The aim of this stage: `before` has its part of the target, less where hard ones need more.
local function aims()
  local hard = math.min(was.hard, 0.99)
  local first = within((target - hard) / (1 - hard), 0, part * target)
  local second = first < 1 and (target - first) / (1 - first) or 1
  if gate == 'before' then
    return first, first
  end
  return second, within((second - hard) / (1 - hard), 0, 1)
end

-- The share of recent scores above this one: uniform while the traffic stays as it is, since those
-- that are equal are told apart by `tie`.
local function rank(seen)
  local above = redis.call('ZCOUNT', scores, '(' .. score, '+inf')
  local equal = redis.call('ZCOUNT', scores, score, score)
  return (above + tie * (equal + 1)) / (seen + 1)
end

local function score_at(place)
  return redis.call('ZREVRANGE', scores, place, place, 'WITHSCORES')[2]
end

local seen = redis.call('ZCARD', scores)
redis.call('ZCARD', 'fb:pace:tenants')
local due, aim, place, threshold, go = 0, 1, 0, '', stage == 'hard'
if stage ~= 'hard' then
  place = rank(seen)
end
if target then
  local fair
  due, fair = aims()
  aim = target > 0 and within(fair + was.owed / OWED, 0, 1) or 0
  threshold = score_at(math.floor(aim * seen)) or ''
  go = go or place < aim
elseif said == 'threshold' then
  threshold = tostring(value)
  go = go or tonumber(score) >= value
end

-- From here on it writes.
if stage ~= 'hard' then
  redis.call('ZADD', scores, score, was.seen % RING)
  redis.call('EXPIRE', scores, KEEP_S)
end
write('seen', was.seen + (stage == 'hard' and 0 or 1))
-- A moving average of yes and no; `counted` says of how many, up to RECENT.
local function average(name, counted, yes)
  local count = math.min(was[counted] + 1, RECENT)
  write(counted, count)
  write(name, was[name] + ((yes and 1 or 0) - was[name]) / count)
end
if gate == 'after' then
  average('hard', 'judged', stage == 'hard')
end
if target then
  write('owed', within(was.owed + due - (go and 1 or 0), -OWED, OWED))
  average('all_went', 'all_paced', go)
end
if target or said == 'threshold' then
  average('went', 'paced', go)
end
redis.call('HSET', key, own .. 'threshold', threshold, own .. 'aim', aim, unpack(writes))
redis.call('EXPIRE', key, KEEP_S)
redis.call('ZADD', 'fb:pace:tenants', now_ms() / 1000, tenant)
redis.call('ZREMRANGEBYSCORE', 'fb:pace:tenants', '-inf', now_ms() / 1000 - KEEP_S)
if not target and said ~= 'threshold' then
  return nil
end
return { go and 1 or 0, threshold, tostring(aim), tostring(place) }
