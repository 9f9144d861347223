#!lua flags=allow-oom
-- End a job wherever it is. A worker that holds it learns so when it next looks (`lost.lua`).
-- -> 1 | 0 (the job had ended already) | -1 (no such job)
local id, retention_ms = ARGV[1], positive(ARGV[2], 'retention_ms')
local job = read(id)
if not job then
  return -1
end
if ended(job.state) then
  return 0
end
finish(id, job, 'cancelled', retention_ms, 'error', 'cancelled',
  'error_note', 'somebody cancelled it')
if job.state == 'waiting' then
  have_told_cancelled(id)
end
return 1
