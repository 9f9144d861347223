#!lua flags=allow-oom
-- Ask to be woken when a job ends. -> its state now, or nothing for an unknown job
local id, stream = unpack(ARGV)
local job = read(id)
if not job then
  return nil
end
if not ended(job.state) then
  watch(id, stream, job.state)
end
return job.state
