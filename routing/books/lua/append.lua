#!lua flags=allow-oom
-- Append an entry to the egress log, if the log still ends where its writer saw it end. So no two
-- entries follow the same entry, whoever writes. Also while memory is full: no entry, no call.
-- -> {'ok'}
--    {'moved', seq, hash, ms}  the log ends with another entry, at this time by Redis' clock
--
-- Without an entry, the end of the log is returned as if it had moved.
--
-- Keys:  fb:egress:log    stream  the entries: `entry` (JSON) and `hash` (SHA-256 of it, hex). Each entry
--                                 holds its number and the hash of the entry before
--        fb:egress:head   hash    seq and hash of the last entry
--        fb:egress:days   hash    <day> -> '<seq> <hash>' of the last entry of the day, UTC
local seq, before, entry, hash, day, max_entries = unpack(ARGV)
local head = redis.call('HMGET', 'fb:egress:head', 'seq', 'hash')
redis.call('XLEN', 'fb:egress:log') -- a key of a wrong type is an error before any write
redis.call('HLEN', 'fb:egress:days')
if entry == '' or (head[1] or '0') ~= seq or (head[2] or '') ~= before then
  return { 'moved', head[1] or '0', head[2] or '', now_ms() }
end
local number = string.format('%.0f', tonumber(seq) + 1)
redis.call('XADD', 'fb:egress:log', 'MAXLEN', '~', max_entries, '*', 'entry', entry, 'hash', hash)
redis.call('HSET', 'fb:egress:head', 'seq', number, 'hash', hash)
redis.call('HSET', 'fb:egress:days', day, number .. ' ' .. hash)
return { 'ok' }
