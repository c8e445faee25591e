-- Where a reader of a stream begins that names its first chunk by index.
-- include lib/history.lua
--
-- KEYS  1 history of the environment   2 row of the run   3 the stream   4 its state
-- ARGV  lifetime of the history (ms), index ('' for that of the newest chunk)
-- Returns {epoch, place, next, status, age}: chunks numbered above `place` are those of this index and later ones; `next` is the
-- index that the next chunk will have, `status` (raw) that of the run, '' when there is none, and `age` how long ago (ms) it
-- ended, 0 when it has not.
--
-- Indexes rise with numbers, and by one where numbers rise by one or more. So each chunk that is looked at narrows down,
-- from both sides, the numbers that the wanted one can have.

local now = now_microseconds()
local history = read_history(KEYS[1], now, tonumber(ARGV[1]))
local row = redis.call('HMGET', KEYS[2], '_status', 'completedAt')
local now_ms = math.floor(now / 1000)
local age = math.max(0, now_ms - (tonumber(row[2] or '') or now_ms))
local state = redis.call('HMGET', KEYS[4], 'first', 'next', 'trimmed')
local first, following, trimmed = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[3] or 0)
local wanted = tonumber(ARGV[2]) or following - 1

local function answer(place)
  return {history.epoch, integer(place), integer(following), row[1] or '', integer(age)}
end

if wanted <= first then return answer(trimmed) end
if wanted >= following then return answer(history.sequence) end

local function number_and_index(entries)
  return tonumber(string.match(entries[1][1], '^%d+')), tonumber(entries[1][2][1])
end

local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
if #oldest == 0 then return answer(history.sequence) end  -- it was lost, and what is known of it was not
local number, index = number_and_index(oldest)
local low = number + (wanted - index)
number, index = number_and_index(redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1))
local high = number - (index - wanted)
while low < high do
  local middle = math.floor((low + high) / 2)
  number, index = number_and_index(redis.call('XRANGE', KEYS[3], integer(middle), '+', 'COUNT', 1))
  if index < wanted then low = number + (wanted - index)
  elseif index == wanted then low, high = number, number
  else high = math.min(middle - 1, number - (index - wanted)) end
end
return answer(low - 1)
