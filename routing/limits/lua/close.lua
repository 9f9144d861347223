#!lua flags=allow-oom
-- Close a call once: record its cost (`settled`), or give back what was reserved (`released`).
-- -> 'closed'; 'again' if nothing was left to do; 'unreserved' if recorded without a reservation
--
-- A settle after a release is recorded: the release was a mistake, and the money is spent. A settle
-- of a call that Redis does not know (it lost its last second of writes) is recorded today, under
-- tenant `?`. Otherwise the books of the day of the reservation are charged, not today's.
--
-- `draft` is the sealed answer that was paid for. It is stored with the job until the job ends: if
-- the worker dies before it settles the job, the next worker needs no second call.
local call_id, new_state, amount, keep_days, keep_closed_s, draft = unpack(ARGV)
local call = 'fb:spend:call:' .. call_id
local known = redis.call('HMGET', call,
  'state', 'job', 'tenant', 'day', 'reserved', 'purpose', 'token', 'bulk')
local state = known[1] or 'unknown'
if state == 'settled' or (new_state == 'released' and state ~= 'open') then
  return 'again'
end

local tenant = known[3] or '?'
local day = tonumber(known[4]) or math.floor(now_ms() / 86400000)
local job = 'fb:spend:job:' .. (known[2] or '')
local books, open = 'fb:spend:day:' .. day, 'fb:spend:open:' .. day
local running = redis.call('GET', job)
redis.call('ZSCORE', open, call_id) -- a key of a wrong type is an error before any write
local job_state = redis.pcall('HGET', job_key(known[2] or ''), 'state')

local owners = {tenant, '*'}
if known[6] and known[6] ~= '' then
  owners[3] = tenant .. ':' .. known[6]
end
for _, owner in ipairs(owners) do
  redis.call('HINCRBY', books, owner .. ':settled', amount)
  if new_state == 'settled' then
    redis.call('HINCRBY', books, owner .. ':calls', 1)
  end
  if state == 'open' and known[5] ~= '0' then -- Redis refuses '-0'
    redis.call('HINCRBY', books, owner .. ':reserved', '-' .. known[5])
  end
end
local bulk = known[8] and known[8] ~= '' and bulk_key(known[8], { bulk = known[8] })
if bulk then
  redis.pcall('HINCRBY', bulk, 'settled_nusd', amount)
  if state == 'open' and known[5] ~= '0' then
    redis.pcall('HINCRBY', bulk, 'reserved_nusd', '-' .. known[5])
  end
end
redis.call('EXPIREAT', books, (day + keep_days) * 86400)
redis.call('ZREM', open, call_id)
if running == call_id then
  redis.call('DEL', job)
end
if type(job_state) == 'string' then
  redis.call('HINCRBY', job_key(known[2]), 'cost_nusd', amount) -- for the receipt
  if new_state == 'settled' and known[7] and known[7] ~= '' then
    redis.call('HSET', job_key(known[2]), 'payer', known[7]) -- so that no other claim pays again
  end
  if draft ~= '' and not ended(job_state) then
    redis.call('SET', 'fb:draft:' .. known[2], draft)
  end
end
redis.call('HSET', call, 'state', new_state, 'tenant', tenant, 'day', day, 'settled', amount)
redis.call('EXPIRE', call, keep_closed_s)
return state == 'unknown' and 'unreserved' or 'closed'
