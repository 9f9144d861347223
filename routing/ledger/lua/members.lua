#!lua flags=no-writes
-- Return members of a set that a tenant can write, but for those that are longer than any name: it may
-- have put in any.
-- `key`: a sorted set, of which members `first` to `last` are looked at, or a set, of which so many are.
-- -> {member, score, ...}; the score of a member of a set is 0
local key, first, last = ARGV[1], number(ARGV[2]), number(ARGV[3])
local MAX_NAME_BYTES, found = 256, {}
local kind, list = redis.call('TYPE', key).ok, {}
if kind == 'set' then
  for _, name in ipairs(redis.call('SRANDMEMBER', key, last - first + 1)) do
    list[#list + 1], list[#list + 2] = name, '0'
  end
elseif kind == 'zset' then
  list = redis.call('ZRANGE', key, first, last, 'WITHSCORES')
end
for i = 1, #list, 2 do
  if #list[i] <= MAX_NAME_BYTES then
    found[#found + 1], found[#found + 2] = list[i], list[i + 1]
  end
end
return found
