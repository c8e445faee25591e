-- Chunks of a run's stream after a number, oldest first, as many as one page holds.
-- include lib/history.lua
--
-- KEYS  1 history of the environment   2 row of the run   3 the stream   4 its state
-- ARGV  lifetime of the history (ms), epoch ('' for any), after, most chunks, most bytes
-- Returns {epoch, end, complete, chunks, status, attempt, first, next, trimmed}: every chunk numbered above `after` and up to `end` is in
-- `chunks`, each {number, index, JSON, when it came (ms; 0 when that was not kept)}. `complete` and `end` are as in
-- read_page.lua. `status` (raw) and `attempt` are those of the run, '' when there is none; `first` is the index at which the
-- stream begins, later than 0 when it was trimmed, `next` the index that the next chunk will have, `trimmed` the number of the
-- last chunk that was removed.

local epoch, after, most, most_bytes = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local MOST_STEP = 128

local history = read_history(KEYS[1], now_microseconds(), tonumber(ARGV[1]))
local row = redis.call('HMGET', KEYS[2], '_status', '_attempt')
local state = redis.call('HMGET', KEYS[4], 'first', 'next', 'trimmed')
local function answer(last, complete, chunks)
  return {history.epoch, last, complete, chunks, row[1] or '', row[2] or '0', state[1] or '0', state[2] or '0', state[3] or '0'}
end
if epoch ~= '' and history.epoch ~= epoch then return answer('0', 0, {}) end

local chunks, bytes, last = {}, 0, after
local step = 1  -- chunks may be large, and those that are taken out and don't fit cost as much as the others
while true do
  local entries = redis.call('XRANGE', KEYS[3], '(' .. last, '+', 'COUNT', step)
  for _, entry in ipairs(entries) do
    last = string.match(entry[1], '^%d+')
    chunks[#chunks + 1] = {last, entry[2][1], entry[2][2], entry[2][4] or '0'}
    bytes = bytes + #entry[2][2]
    if #chunks >= most or bytes >= most_bytes then return answer(last, 0, chunks) end
  end
  if #entries < step then return answer(integer(history.sequence), 1, chunks) end
  step = math.min(2 * step, MOST_STEP)
end
