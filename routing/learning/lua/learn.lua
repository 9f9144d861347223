#!lua flags=allow-oom
-- Record the result of an audit once, and count it for the job's type unless `excess` is empty.
-- The job is the audit's, or one whose local answer was escalated.
-- -> 1, or 0 if it was recorded before, or the audit was forgotten.
--
-- Keys:  fb:audits          stream  results of audits: features and outcomes, never content
--        fb:types:<tenant>  hash    type -> 'n sum ms': decayed number of audits, decayed sum of
--                                   their excess (observed gap less predicted gap), time of the last
-- Each new audit multiplies the weight of a type's older audits by `decay`. If a tenant has too many
-- types, the type that was audited longest ago is dropped.
local id, tenant, job_type, excess, audit, max_audits, keep_ms, max_types, decay = unpack(ARGV)
local types, now = 'fb:types:' .. tenant, now_ms()
local job = read(id)
if not job then
  return 0
end
local escalated = job.hop == 'bedrock' and redis.call('HEXISTS', job_key(id), 'doubt') == 1
if job.audit_of == '' and not escalated then
  return 0
end

local function parts(value)
  local n, sum, at = string.match(value or '', '^(%S+) (%S+) (%S+)$')
  return tonumber(n) or 0, tonumber(sum) or 0, tonumber(at) or 0
end

local function oldest(all)
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
  local n, sum = parts(redis.call('HGET', types, job_type))
  if n == 0 and redis.call('HLEN', types) >= tonumber(max_types) then
    redis.call('HDEL', types, oldest(redis.call('HGETALL', types)))
  end
  local value = string.format('%.17g %.17g %.0f', n * decay + 1, sum * decay + tonumber(excess), now)
  redis.call('HSET', types, job_type, value)
  redis.call('PEXPIRE', types, keep_ms)
end

redis.call('HLEN', types) -- a key of a wrong type is an error before any write
redis.call('XLEN', 'fb:audits')
if redis.call('HSETNX', job_key(id), 'learned', '1') == 0 then
  return 0
end
if excess ~= '' then
  count()
end
redis.call('XADD', 'fb:audits', 'MAXLEN', '~', max_audits, '*', 'audit', audit)
redis.call('XTRIM', 'fb:audits', 'MINID', '~', string.format('%.0f', now - keep_ms))
redis.call('PEXPIRE', 'fb:audits', keep_ms)
return 1
