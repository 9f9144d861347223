#!lua flags=allow-oom
-- Hold a piece of work that one process at a time may do, renew that hold, or end it (`ms` = 0).
-- -> 1 if the caller holds it now | 0 if another process does
--
-- Keys:  fb:lease:<name>  string  the token of the process that holds the work
local name, token, ms = ARGV[1], ARGV[2], number(ARGV[3])
if not string.match(name, '^[%w_.-]+$') then
  error('name: must be a name of letters, digits, dots and dashes')
end
local key = 'fb:lease:' .. name
local holder = redis.call('GET', key)
if holder and holder ~= token then
  return 0
end
if ms > 0 then
  redis.call('SET', key, token, 'PX', ms)
else
  redis.call('DEL', key)
end
return 1
