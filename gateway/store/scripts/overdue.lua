-- Which runs are past a deadline: a lease that nobody renewed, a start that never came, an end that never came.
-- include lib/history.lua
--
-- KEYS  1 history of the environment   2 runs by their next deadline
-- ARGV  prefix, lifetime of the history (ms), most runs
-- Returns {{run, status that it has by now, attempt}, …}. Whoever asked says so with apply_changes.lua, which looks once more;
-- so each is told once, however many gateways ask.
--
-- A lease is judged only by who has been looking for as long as it lasts: when Redis was away, no worker could renew, and
-- none of them is to be called dead for it. And a worker that began or ended in time while Redis was away tells so in a
-- moment: the other deadlines wait for that long.

local prefix, most = ARGV[1], tonumber(ARGV[3])
-- Every gateway looks each second. Who can't for longer than LOOKED_AWAY_MS may have been as cut off as the workers were. A
-- publisher tries again every five seconds at least (gateway/publisher/breaker.py).
local SCAN, LOOKED_AWAY_MS, NOTED_EVERY_MS, SETTLES_MS = 1000, 2500, 900, 6000

local now_ms = math.floor(now_microseconds() / 1000)
local history = read_history(KEYS[1], now_ms * 1000, tonumber(ARGV[2]))
local seen = redis.call('HMGET', KEYS[1], 'watched', 'watched_since', 'watched_again', 'watched_epoch')
local watched, since, again = tonumber(seen[1] or 0), tonumber(seen[2] or 0), tonumber(seen[3] or 0)
if now_ms - watched > LOOKED_AWAY_MS or seen[4] ~= history.epoch then
  since = now_ms
  if seen[1] then again = now_ms end  -- not who looks for the first time: nothing is known to have been away
end
if now_ms - watched > NOTED_EVERY_MS or since == now_ms then
  redis.call('HSET', KEYS[1], 'watched', integer(now_ms), 'watched_since', integer(since),
             'watched_again', integer(again), 'watched_epoch', history.epoch)
end

local overdue = {}
for _, run in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', integer(now_ms), 'LIMIT', 0, SCAN)) do
  local row = redis.call('HMGET', prefix .. 'run:' .. run, '_deadline', '_lease_ms', '_attempt')
  local moment, status = string.match(row[1] or '', '^(%d+):(.+)$')
  if not moment then
    redis.call('ZREM', KEYS[2], run)
  else
    local judged_from = status == 'CRASHED' and since + tonumber(row[2]) or again + SETTLES_MS
    if judged_from > now_ms then
      redis.call('ZADD', KEYS[2], integer(judged_from), run)  -- not in the way of others until then
    else
      overdue[#overdue + 1] = {run, status, row[3]}
      if #overdue == most then break end
    end
  end
end
return overdue
