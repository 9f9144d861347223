#!lua flags=allow-oom
-- Remember a fault of a scope and pause the scope, also while memory is full. A fault that is known
-- for the same reason keeps the time at which it began.
-- `shut`: a key that shuts every call, too; empty for none.
-- -> 1 | 0 (the fault was known)
local faults, scope, fault, pause, shut, code, pause_ms, keep_s = unpack(ARGV)

local function reason(text)
  local done, fields = pcall(cjson.decode, text or '')
  return done and type(fields) == 'table' and fields.reason
end

local before = redis.call('HGET', faults, scope)
local known = before and reason(before) == reason(fault)
redis.call('HSET', faults, scope, known and before or fault)
redis.call('EXPIRE', faults, keep_s)
redis.call('SET', pause, code, 'PX', pause_ms)
if shut ~= '' then
  redis.call('SET', shut, code, 'PX', pause_ms)
end
return known and 0 or 1
