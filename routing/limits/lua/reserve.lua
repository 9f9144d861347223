#!lua flags=allow-oom
-- Reserve money for one call, if the budgets cover it and no other call of the job may be running.
-- Also while memory is full: the job's end frees more than the reservation takes.
-- -> {'ok'}, also if it was reserved before
--    {'over', scope, left}  a budget is too small; `left` is what remains of it
--    {'busy', ms}           another call of the job may be running, for so long
--    {'ended'}              the term of this reservation is over
--    {'other'}              the call id belongs to another reservation
--    {'lost'}               the claim with this token no longer holds the job
--    {'paid'}               another claim has paid for the job
--
-- The row of a bulk is paid from the bulk's own budget as well, which knows no days (`fb:bulk:<bulk>`).
--
-- Keys:  fb:spend:call:<call id>  hash    state (open, settled, released), job, tenant, day,
--                                         at (ms), reserved and settled (billionths of a dollar),
--                                         purpose, token (of the claim that makes the call)
--        fb:spend:job:<job id>    string  the call that may be running; expires with its term
--        fb:spend:day:<day>       hash    the books: <owner>:settled, <owner>:reserved and
--                                         <owner>:calls (settled calls). The owner is a tenant,
--                                         `*` for all, or <tenant>:<purpose>
--        fb:spend:open:<day>      zset    open calls of the day -> reserved at (ms)
-- A day is the number of days since 1970, UTC. All keys of a day expire together with its books.
-- Sums are exact below 2^53, so no budget may be larger. Amounts stay strings: Lua would round them.
local call_id, job_id, tenant, amount, tenant_budget, fleet_budget, term_ms, keep_days = unpack(ARGV)
local purpose, purpose_budget, token = ARGV[9], ARGV[10], ARGV[11] -- '' if there is none
local account = purpose ~= '' and tenant .. ':' .. purpose or tenant
local now = now_ms()
local day = math.floor(now / 86400000)
local call, job = 'fb:spend:call:' .. call_id, 'fb:spend:job:' .. job_id
local books, open = 'fb:spend:day:' .. day, 'fb:spend:open:' .. day

local known = redis.call('HMGET', call, 'state', 'job', 'tenant', 'reserved')
local running = redis.call('GET', job)
local spent = redis.call('HMGET', books,
  tenant .. ':settled', tenant .. ':reserved', '*:settled', '*:reserved',
  account .. ':settled', account .. ':reserved')
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

local function left(budget, settled, reserved)
  return budget - (settled or 0) - (reserved or 0)
end
local of_tenant = left(tenant_budget, spent[1], spent[2])
local of_fleet = left(fleet_budget, spent[3], spent[4])
if tonumber(amount) > of_tenant then
  return {'over', 'tenant', string.format('%.0f', of_tenant)}
elseif tonumber(amount) > of_fleet then
  return {'over', 'fleet', string.format('%.0f', of_fleet)}
end
local of_purpose = purpose ~= '' and left(purpose_budget, spent[5], spent[6])
if of_purpose and tonumber(amount) > of_purpose then
  return {'over', purpose, string.format('%.0f', of_purpose)}
end

local row = read(job_id)
local bulk = row and bulk_key(job_id, row)
local sums = bulk and redis.call('HMGET', bulk, 'max_nusd', 'settled_nusd', 'reserved_nusd')
if sums and sums[1] then
  local of_bulk = left(number(sums[1]), number(sums[2]), number(sums[3]))
  if tonumber(amount) > of_bulk then
    return {'over', 'bulk', string.format('%.0f', of_bulk)}
  end
end

local ends = (day + keep_days) * 86400
redis.call('HSET', call, 'state', 'open', 'job', job_id, 'tenant', tenant, 'day', day, 'at', now,
  'reserved', amount, 'settled', '0', 'purpose', purpose, 'token', token, 'bulk', bulk and row.bulk or '')
redis.call('SET', job, call_id, 'PX', term_ms)
redis.call('HINCRBY', books, tenant .. ':reserved', amount)
redis.call('HINCRBY', books, '*:reserved', amount)
if purpose ~= '' then
  redis.call('HINCRBY', books, account .. ':reserved', amount)
end
if bulk then
  redis.pcall('HINCRBY', bulk, 'reserved_nusd', amount)
end
redis.call('ZADD', open, now, call_id)
for _, key in ipairs({call, books, open}) do
  redis.call('EXPIREAT', key, ends)
end
return {'ok'}
