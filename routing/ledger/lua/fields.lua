#!lua flags=no-writes
-- Return some fields of records. A tenant may have written a record of its own that is larger than a
-- record can be: it reads as if it were not there.
-- `family`: `job` or `bulk`; `count`: of the names of fields, which precede the ids.
-- -> for each id: the values, nil for a field that is not there; none if there is no such record
local family, count = ARGV[1], positive(ARGV[2], 'count')
local names, found = { unpack(ARGV, 3, 2 + count) }, {}
for i = 3 + count, #ARGV do
  local key = 'fb:' .. family .. ':' .. ARGV[i]
  local values = is_too_large(key) and {} or redis.pcall('HMGET', key, unpack(names))
  found[#found + 1] = values.err and {} or values
end
return found
