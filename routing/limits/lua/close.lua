#!lua flags=allow-oom
-- Close a call once: record its cost (`settled`), or give back what was reserved (`released`).
-- -> 'closed'; 'again' if nothing was left to do; 'unreserved' if recorded without a reservation
--
-- A settle after a release is recorded: the release was a mistake, and the money is spent. A settle
-- of a call that Redis does not know (it lost its last second of writes) is recorded today, under
-- tenant `?`. Otherwise the books of the day of the reservation are charged, not today's.
--
-- The call is written into the book of calls, whose oldest entries are removed: those above `max_calls`,
-- and those older than `keep_calls_ms`. `bill` is JSON that goes into it: what was billed.
--
-- `draft` is the sealed answer that was paid for. It is stored with the job until the job ends: if
-- the worker dies before it settles the job, the next worker needs no second call.
--
-- Keys:  fb:books:calls  stream  the calls that were closed: id, state, job, tenant, purpose, at (ms of
--                                the reservation), reserved, settled, terms and bill (JSON). A call whose
--                                settle came after its release has two entries: the last one holds
local call_id, new_state, amount, keep_days, keep_closed_s, draft = unpack(ARGV)
local bill, max_calls, keep_calls_ms = ARGV[7], ARGV[8], ARGV[9]
local call = 'fb:spend:call:' .. call_id
local known = redis.call('HMGET', call,
  'state', 'job', 'tenant', 'day', 'reserved', 'purpose', 'token', 'bulk', 'accounts', 'terms', 'at')
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
redis.call('HLEN', books)
redis.call('XLEN', 'fb:books:calls')
local job_state = redis.pcall('HGET', job_key(known[2] or ''), 'state')

local accounts = known[9] and cjson.decode(known[9]) or { { tenant, books }, { '*', books } }
for _, account in ipairs(accounts) do
  local owner, book = unpack(account)
  redis.call('HINCRBY', book, owner .. ':settled', amount)
  if new_state == 'settled' then
    redis.call('HINCRBY', book, owner .. ':calls', 1)
  end
  if state == 'open' and known[5] ~= '0' then -- Redis refuses '-0'
    redis.call('HINCRBY', book, owner .. ':reserved', '-' .. known[5])
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
  local sum = redis.pcall('HINCRBY', job_key(known[2]), 'cost_nusd', amount) -- for the receipt
  if type(sum) ~= 'number' then -- its tenant wrote what cannot be added to
    redis.call('HSET', job_key(known[2]), 'cost_nusd', amount)
  end
  if new_state == 'settled' and known[7] and known[7] ~= '' then
    redis.call('HSET', job_key(known[2]), 'payer', known[7]) -- so that no other claim pays again
  end
  if draft ~= '' and not ended(job_state) then
    redis.call('SET', 'fb:draft:' .. known[2], draft)
  end
end
local fields = { 'state', new_state, 'tenant', tenant, 'day', day, 'settled', amount }
if new_state == 'settled' and known[1] then
  -- A settled call is charged no more, so its terms and accounts are of no use. Without them Redis stores
  -- the hash in a quarter of the memory, but only if it is made anew.
  redis.call('DEL', call)
  for name, value in pairs({ job = known[2], reserved = known[5], at = known[11] }) do
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
end
redis.call('HSET', call, unpack(fields))
redis.call('EXPIRE', call, keep_closed_s)
redis.call('XADD', 'fb:books:calls', 'MAXLEN', '~', max_calls, '*', 'id', call_id, 'state', new_state,
  'job', known[2] or '', 'tenant', tenant, 'purpose', known[6] or '', 'at', known[11] or '',
  'reserved', known[5] or '0', 'settled', amount, 'terms', known[10] or '', 'bill', bill)
redis.call('XTRIM', 'fb:books:calls', 'MINID', '~', string.format('%.0f', now_ms() - keep_calls_ms))
redis.call('PEXPIRE', 'fb:books:calls', keep_calls_ms)
return state == 'unknown' and 'unreserved' or 'closed'
