#!lua flags=no-writes
-- Return what is stored of jobs or bulks: records, and answers if asked for. A tenant may have written a
-- key of its own that is larger than a record can be, or of another type, and whoever reads it for
-- others would run out of memory or miss what it reads together with it.
-- `family`: `job` or `bulk`.
-- -> for each id: {its record, its answer}; an empty record if there is none that can be read
local family, answers = unpack(ARGV, 1, 2)

-- Run a command that reads a key. A key of another type reads as if it were not there.
local function reply_of(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then
    return reply
  elseif string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then
    error(reply)
  end
end

local function record_of(id)
  local key = 'fb:' .. family .. ':' .. id
  return not is_too_large(key) and reply_of('HGETALL', key) or {}
end

-- Return the answer of a job. What is longer than any answer comes cut off, and cannot be opened.
-- Users of Redis that an earlier release made may read it as a whole only.
local function answer_of(id)
  local key = 'fb:answer:' .. id
  local answer = redis.pcall('GETRANGE', key, 0, MAX_SEALED_BYTES)
  return type(answer) == 'string' and answer or reply_of('GET', key) or ''
end

local found = {}
for i = 3, #ARGV do
  found[#found + 1] = { record_of(ARGV[i]), answers == '1' and answer_of(ARGV[i]) or '' }
end
return found
