#!lua flags=allow-oom
-- Ring a doorbell of a queue anew: a worker that takes no jobs any more got one, and dropped it.
-- A doorbell too many finds no job waiting and does nothing. -> 1
local queue, bell = unpack(ARGV)
fleet_only()
if not is_queue(queue) then
  error('queue: must be a queue of the fleet')
end
ring(queue, bell)
return 1
