#!lua flags=allow-oom
-- Write the end of a batch, or of a bulk that could not begin, to the stream of its tenant's webhooks, if
-- it has any. -> 1
local id, state, what = unpack(ARGV)
if not is_id(id) then
  error('id: must be that of a batch or a bulk')
end
tell_of_end(id, state, what)
return 1
