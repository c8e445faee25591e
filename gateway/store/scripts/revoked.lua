-- All that was revoked and may not be forgotten yet.
--
-- KEYS  1, 2 as in revoke.lua
-- ARGV  now (ms)
-- Returns a list of "<until> <issued before> <said at> <key>", as revoke.lua publishes them.

local found = {}
local kept = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES')
for at = 1, #kept, 2 do
  local said = redis.call('HGET', KEYS[2], kept[at])
  if said then found[#found + 1] = string.format('%.0f', tonumber(kept[at + 1])) .. ' ' .. said .. ' ' .. kept[at] end
end
return found
