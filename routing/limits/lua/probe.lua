#!lua flags=allow-oom
-- Let the calls of one job probe faults whose pauses have passed, also while memory is full. The probe
-- of a job that lost its claim is over: its worker died, or made no call.
-- `pause`...: the keys of all faults that the call meets.
-- -> {0, 0} if this job probes them all, else {number of a fault (from 0), ms until it is worth asking again}
--
-- Keys:  fb:spillway:pause:<scope>  string  'probe <job> <token of its claim>' while a call probes the
--                                           fault of the scope, else the code of its error
local id, probe_ms = ARGV[1], ARGV[2]

for number = 3, #ARGV do
  local prober, its_token = string.match(redis.call('GET', ARGV[number]) or '', '^probe (%S+) (%S+)$')
  local left_ms = redis.call('PTTL', ARGV[number])
  if left_ms > 0 and prober ~= id and (not prober or held(prober, its_token)) then
    return { number - 3, left_ms }
  end
end
local job = read(id)
for number = 3, #ARGV do
  redis.call('SET', ARGV[number], 'probe ' .. id .. ' ' .. (job and job.token or ''), 'PX', probe_ms)
end
return { 0, 0 }
