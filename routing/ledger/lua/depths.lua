#!lua flags=no-writes
-- Return how many jobs wait in each queue. A producer may have added names of its own, as many and as long
-- as it likes, until the next sweep.
-- -> {queue, jobs, ...}, and `<queue>:rows` with the shards
local MAX_NAMES_READ, MAX_NAME_BYTES, found = 5000, 256, {}
local names = { 'route', 'route:rows', 'embed', 'embed:rows', 'bedrock', 'bedrock:rows', 'local.default',
  'local.default:rows' }
local list = {}
if number(redis.call('HLEN', 'fb:depth')) <= MAX_NAMES_READ then
  list = redis.call('HGETALL', 'fb:depth')
else
  for _, name in ipairs(names) do -- a flood: the next sweep ends it
    list[#list + 1], list[#list + 2] = name, redis.call('HGET', 'fb:depth', name) or '0'
  end
end
for i = 1, #list, 2 do
  local queue = string.gsub(list[i], ':rows$', '')
  if #list[i] <= MAX_NAME_BYTES and is_queue(queue) then
    found[#found + 1], found[#found + 2] = list[i], number(list[i + 1])
  end
end
return found
