#!lua
-- Set money aside for one call, if the budgets cover it and no other call of the job may be running.
-- -> {'ok'}, also when it was set aside before; {'over', scope, what is left}; {'busy', ms to wait};
--    {'ended'} the call's term is over; {'other'} the id belongs to another reservation;
--    {'lost'} the job is not held under `token` any more: whoever has it now, or had it, may have paid;
--    {'paid'} another claim has paid for it since this one read what is known of it
--
-- Keys:  fb:spend:call:<call id>  hash    state (open, settled, released), job, tenant, day,
--                                         at (ms), reserved and settled (billionths of a dollar),
--                                         token (of the claim that it is made under)
--        fb:spend:job:<job id>    string  the call that may be running; ends with its term
--        fb:spend:day:<day>       hash    <owner>:settled, <owner>:reserved, <owner>:calls (those
--                                         settled); the owner is a tenant, `*` for all, or
--                                         <tenant>:<purpose> for what it spends on that
--        fb:spend:open:<day>      zset    open calls of the day -> since when (ms)
-- A day is counted in days since 1970, UTC. What belongs to a day ends with its books, together.
-- Sums are exact below 2^53, which is why no budget may be larger. `-` of a string is a string:
-- amounts are never made by Lua from its own numbers.
local call_id, job_id, tenant, amount, tenant_budget, fleet_budget, term_ms, keep_days = unpack(ARGV)
local purpose, purpose_budget, token = ARGV[9], ARGV[10], ARGV[11] -- '' for none
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
redis.call('ZSCORE', open, call_id)

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

local ends = (day + keep_days) * 86400
redis.call('HSET', call, 'state', 'open', 'job', job_id, 'tenant', tenant, 'day', day, 'at', now,
  'reserved', amount, 'settled', '0', 'purpose', purpose, 'token', token)
redis.call('SET', job, call_id, 'PX', term_ms)
redis.call('HINCRBY', books, tenant .. ':reserved', amount)
redis.call('HINCRBY', books, '*:reserved', amount)
if purpose ~= '' then
  redis.call('HINCRBY', books, account .. ':reserved', amount)
end
redis.call('ZADD', open, now, call_id)
for _, key in ipairs({call, books, open}) do
  redis.call('EXPIREAT', key, ends)
end
return {'ok'}
