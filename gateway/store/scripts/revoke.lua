-- Keeps a revocation of tokens, and tells every gateway.
--
-- KEYS  1 sorted set of what was revoked, by the time (ms) at which it may be forgotten · 2 hash: what each one says
-- ARGV  key of the revocation, issued before (ms), said at (ms), until (ms), now (ms), most revocations,
--       publish command, channel
-- What a revocation says is "<issued before> <said at>". Publishes "<until> <issued before> <said at> <key>".
-- Returns {1, until, issued before} as it holds now, or {0} when there are too many and nothing was done.

local most_forgotten = 100  -- at a time; more are forgotten by those who come later

for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[5], 'LIMIT', 0, most_forgotten)) do
  redis.call('ZREM', KEYS[1], key)
  redis.call('HDEL', KEYS[2], key)
end

local key, before, said_at, ends = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('ZSCORE', KEYS[1], key)
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then return {0} end
if known then
  -- Said again: what covers more and what is kept for longer holds.
  if tonumber(known) > tonumber(ends) then ends = string.format('%.0f', tonumber(known)) end
  local said = redis.call('HGET', KEYS[2], key) or '0 0'
  local earlier, when = string.match(said, '^(%d+) (%d+)$')
  if tonumber(earlier) > tonumber(before) then before, said_at = earlier, when end
end

redis.call('ZADD', KEYS[1], ends, key)
redis.call('HSET', KEYS[2], key, before .. ' ' .. said_at)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
for _, kept in ipairs(KEYS) do redis.call('PEXPIREAT', kept, string.format('%.0f', tonumber(last[2]) + 1000)) end
redis.call(ARGV[7], ARGV[8], ends .. ' ' .. before .. ' ' .. said_at .. ' ' .. key)
return {1, ends, before}
