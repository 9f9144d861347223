#!lua flags=allow-oom
-- Have a job's end written to the stream. -> the state of the job | nil (no such job)
local id, stream = unpack(ARGV)
check_stream(stream, id)
local job = read(id)
if not job then
  return nil
end
if not ended(job.state) then
  watch(id, stream, job.state)
end
return job.state
