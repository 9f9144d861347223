#!lua flags=allow-oom
-- Write down what an audit showed, once, and count it for the job's type, unless `excess` is empty.
-- -> 1, or 0 when it was written before, or the audit was forgotten.
--
-- Keys:  fb:audits          stream  what audits showed: features and outcomes, never content
--        fb:types:<tenant>  hash    type -> 'n sum ms': audits that count, the sum of their excess
--                                   (gap seen less gap foretold), and when the last one came
-- A type's older audits fade: each new one leaves `fade` of them. Of too many types the one that was
-- audited longest ago goes.
local id, tenant, kind_of_job, excess, told, most, keep_ms, most_types, fade = unpack(ARGV)
local types, now = 'fb:types:' .. tenant, now_ms()
local job = read(id)
if not job or job.audit_of == '' then
  return 0
end

local function parts(value)
  local n, sum, at = string.match(value or '', '^(%S+) (%S+) (%S+)$')
  return tonumber(n) or 0, tonumber(sum) or 0, tonumber(at) or 0
end

local function eldest(all)
  local name, since
  for i = 1, #all, 2 do
    local _, _, at = parts(all[i + 1])
    if not since or at < since then
      name, since = all[i], at
    end
  end
  return name
end

local function count()
  local n, sum = parts(redis.call('HGET', types, kind_of_job))
  if n == 0 and redis.call('HLEN', types) >= tonumber(most_types) then
    redis.call('HDEL', types, eldest(redis.call('HGETALL', types)))
  end
  local value = string.format('%.17g %.17g %.0f', n * fade + 1, sum * fade + tonumber(excess), now)
  redis.call('HSET', types, kind_of_job, value)
  redis.call('PEXPIRE', types, keep_ms)
end

redis.call('HLEN', types) -- keys of another type are an error before anything is written
redis.call('XLEN', 'fb:audits')
if redis.call('HSETNX', job_key(id), 'learned', '1') == 0 then
  return 0
end
if excess ~= '' then
  count()
end
redis.call('XADD', 'fb:audits', 'MAXLEN', '~', most, '*', 'audit', told)
redis.call('XTRIM', 'fb:audits', 'MINID', '~', string.format('%.0f', now - keep_ms))
redis.call('PEXPIRE', 'fb:audits', keep_ms)
return 1
