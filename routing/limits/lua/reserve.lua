#!lua flags=allow-oom
-- Reserve money for one call, if the budgets cover it and no other call of the job may be running.
-- Also while memory is full: the job's end frees more than the reservation takes.
-- -> {'ok', n, ...}        `n`: the numbers of limits whose alert this call sets off, from 1
--    {'over', n, left, new} the limit that is too small, what remains of it, and 1 if it refuses a call
--                          for the first time in its window. 0 is the tenant's, -1 the fleet's largest
--                          sum of a day, -2 the bulk's budget
--    {'stale', ms}         a window does not hold this time, by Redis' clock
--    {'busy', ms}          another call of the job may be running, for so long
--    {'ended'}             the term of this reservation is over
--    {'other'}             the call id belongs to another reservation
--    {'lost'}              the claim with this token no longer holds the job
--    {'paid'}              another claim has paid for the job
--
-- ARGV 10 and later: six for each limit: owner, book, start and end of its window (ms), budget, and
-- the amount from which an alert is given; empty for none. `terms` is JSON that the book of calls keeps.
-- The row of a bulk is paid from the bulk's own budget as well, which knows no days (`fb:bulk:<bulk>`).
--
-- Keys:  fb:spend:call:<call id>  hash    state (open, settled, released), job, tenant, day,
--                                         at (ms), reserved and settled (billionths of a dollar),
--                                         purpose, token (of the claim that makes the call), terms,
--                                         accounts (JSON: owner and book of each sum it counts in).
--                                         A settled one keeps what `reservation.py` reads
--        fb:spend:job:<job id>    string  the call that may be running; expires with its term
--        fb:spend:day:<day>       hash    the books: <owner>:settled, <owner>:reserved,
--                                         <owner>:calls (settled calls), <owner>:alerted,
--                                         <owner>:refused and <owner>:last_refused (ms of the first
--                                         and the last refused call), and <owner>:refusals. The owner
--                                         is a tenant, `*` for all, <tenant>:<purpose>, or `*:<model>`
--        fb:spend:from:<s>:<e>    hash    the same for a window that is no day of UTC
--        fb:spend:open:<day>      zset    open calls of the day -> reserved at (ms)
-- A day is the number of days since 1970, UTC. All keys of a day expire together with its books.
-- Amounts stay strings until they are compared, and no number that is compared passes 2^53.
local call_id, job_id, tenant, amount, term_ms, keep_days, purpose, token, terms = unpack(ARGV)
local MAX = 2 ^ 53 - 1
local now = now_ms()
local day = math.floor(now / 86400000)
local call, job = 'fb:spend:call:' .. call_id, 'fb:spend:job:' .. job_id
local open = 'fb:spend:open:' .. day

-- Return a stored sum as a number. A sum that a double cannot hold leaves nothing of any budget.
local function sum_of(text)
  text = text or '0'
  if #text > 16 or (#text == 16 and text > '9007199254740991') then
    return MAX
  end
  return tonumber(text) or MAX
end

-- Return what is left of a limit, 0 or more.
local function left_of(limit, settled, reserved)
  local left = limit - math.min(limit, sum_of(settled))
  return left - math.min(left, sum_of(reserved))
end

-- Note something once about an owner in a book. -> 1 if it is new
local function note(limit, what, value)
  local new = redis.call('HSETNX', limit.book, limit.owner .. ':' .. what, value)
  redis.call('EXPIREAT', limit.book, limit.ends)
  return new
end

-- Note that a limit refuses a call, and when. -> 1 if it is the first in its window
local function note_refusal(limit)
  redis.call('HSET', limit.book, limit.owner .. ':last_refused', now)
  redis.call('HINCRBY', limit.book, limit.owner .. ':refusals', 1)
  return note(limit, 'refused', now)
end

local known = redis.call('HMGET', call, 'state', 'job', 'tenant', 'reserved')
local running = redis.call('GET', job)
redis.call('ZSCORE', open, call_id) -- a key of a wrong type is an error before any write
if known[1] then
  if known[2] ~= job_id or known[3] ~= tenant or known[4] ~= amount then
    return {'other'}
  end
  return {known[1] == 'open' and running == call_id and 'ok' or 'ended'}
end
if token ~= '' then
  if not held(job_id, token) then
    return {'lost'}
  end
  local payer = redis.call('HGET', job_key(job_id), 'payer')
  if payer and payer ~= token then
    return {'paid'}
  end
end
if running then
  return {'busy', redis.call('PTTL', job)}
end

local today = (day + keep_days) * 86400
local limits = {}
for i = 10, #ARGV, 6 do
  local owner, book, start_ms, end_ms, hard, soft = unpack(ARGV, i, i + 5)
  if now < tonumber(start_ms) or now >= tonumber(end_ms) then
    return {'stale', now}
  end
  limits[#limits + 1] = { number = (i - 4) / 6, owner = owner, book = 'fb:spend:' .. book,
    ends = math.max(today, math.floor(end_ms / 1000) + (keep_days - 1) * 86400),
    hard = tonumber(hard) or MAX, soft = tonumber(soft) }
end
local of_today = 'fb:spend:day:' .. day
limits[#limits + 1] = { number = 0, owner = tenant, book = of_today, ends = today, hard = MAX }
limits[#limits + 1] = { number = -1, owner = '*', book = of_today, ends = today, hard = MAX }
if purpose ~= '' then
  limits[#limits + 1] = { number = 0, owner = tenant .. ':' .. purpose, book = of_today, ends = today, hard = MAX }
end
for _, limit in ipairs(limits) do
  limit.sums = redis.call('HMGET', limit.book, limit.owner .. ':settled', limit.owner .. ':reserved')
end
for _, limit in ipairs(limits) do
  local left = left_of(limit.hard, limit.sums[1], limit.sums[2])
  if tonumber(amount) > left then
    return {'over', limit.number, string.format('%.0f', left), note_refusal(limit)}
  end
end

local row = read(job_id)
local bulk = row and bulk_key(job_id, row)
local sums = bulk and redis.call('HMGET', bulk, 'max_nusd', 'settled_nusd', 'reserved_nusd')
if sums and sums[1] then
  local of_bulk = left_of(sum_of(sums[1]), sums[2] or '0', sums[3] or '0')
  if tonumber(amount) > of_bulk then
    return {'over', -2, string.format('%.0f', of_bulk), 0}
  end
end

local reply, accounts, counted = {'ok'}, {}, {}
for _, limit in ipairs(limits) do
  local id = limit.book .. ' ' .. limit.owner
  if not counted[id] then
    counted[id] = true
    accounts[#accounts + 1] = { limit.owner, limit.book }
    redis.call('HINCRBY', limit.book, limit.owner .. ':reserved', amount)
    redis.call('EXPIREAT', limit.book, limit.ends)
  end
  if limit.soft and tonumber(amount) >= left_of(limit.soft, limit.sums[1], limit.sums[2])
    and note(limit, 'alerted', '1') == 1 then
    reply[#reply + 1] = limit.number
  end
end
redis.call('HSET', call, 'state', 'open', 'job', job_id, 'tenant', tenant, 'day', day, 'at', now,
  'reserved', amount, 'settled', '0', 'purpose', purpose, 'token', token, 'bulk', bulk and row.bulk or '',
  'terms', terms, 'accounts', cjson.encode(accounts))
redis.call('SET', job, call_id, 'PX', term_ms)
if bulk then
  redis.pcall('HINCRBY', bulk, 'reserved_nusd', amount)
end
redis.call('ZADD', open, now, call_id)
redis.call('EXPIREAT', call, today)
redis.call('EXPIREAT', open, today)
return reply
