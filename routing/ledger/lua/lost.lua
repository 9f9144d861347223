#!lua flags=no-writes
-- Say which claims do not hold their jobs any more: pairs of an id and a token.
-- -> the tokens of those that were lost
local lost = {}
for i = 1, #ARGV, 2 do
  if not held(ARGV[i], ARGV[i + 1]) then
    lost[#lost + 1] = ARGV[i + 1]
  end
end
return lost
