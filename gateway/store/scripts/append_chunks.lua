-- Puts chunks at the end of a run's stream, and tells who follows it.
-- include lib/history.lua
-- include lib/retention.lua
-- include lib/inputs.lua
--
-- KEYS  1 history of the environment   2 row of the run   3 the stream   4 its state
-- ARGV  prefix, publish command, run, key of the stream, lifetime of an unfinished run (ms), longest lifetime of a stream (ms),
--       most bytes of the stream, largest message that is published, writer ('' for none), the writer's number of the first
--       chunk ('' for whatever comes next), how long a writer that writes once is known (ms; '' for one that goes on),
--       chunks (JSON)…
-- Returns {outcome, epoch, sequence of the last chunk, index of the next chunk, the writer's next number, announced}, outcome one of
--   appended          those that the writer had not appended before are stored
--   missing           there is no such run
--   gap               the writer's first chunk is not its next one
--   too_many_streams
-- `announced` is 0 when the run's row does not name the stream yet: say so with apply_change.lua.
--
-- A writer numbers its chunks. So whoever had no answer appends the same again, and what was stored is skipped: exactly once,
-- wherever it was cut off. Every chunk takes a number of the environment, so that a cursor means the same here as in any feed.
-- Whoever writes once is known for a time by a key of its own: a thousand of those must not push out one who goes on.

local prefix, publish, run, stream = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local kept, kept_streams, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local largest_message, writer, first, once = tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local FIRST_CHUNK = 12
local history_key, row_key, stream_key, state_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local MAX_STREAMS, MAX_WRITERS = 100, 64
-- What Redis needs for a small chunk besides its text, with the time that it came and without: a limit for memory must
-- count it.
local CHUNK_COSTS, TIMELESS_COSTS = 40, 24

local now = now_microseconds()
local history = read_history(history_key, now, key_lifetime(kept))
local row = redis.call('HMGET', row_key, '_created', '_streams')
local state = redis.call('HMGET', state_key, 'next', 'bytes', 'writers', 'writer:' .. writer)
local index, bytes, writers = tonumber(state[1] or 0), tonumber(state[2] or 0), state[3] or ''
local expected = tonumber(state[4] or 0)
local announced = string.find(',' .. (row[2] or '') .. ',', ',' .. stream .. ',', 1, true) and 1 or 0

local function answer(outcome)
  return {outcome, history.epoch, integer(history.sequence), integer(index), integer(expected), announced}
end

if not row[1] then return answer('missing') end
-- What is sent into a run counts by itself: whoever may send must not keep the job from writing.
local function of_its_kind()
  local count = 0
  for name in string.gmatch(row[2] or '', '[^,]+') do
    if is_input(name) == is_input(stream) then count = count + 1 end
  end
  return count
end
if announced == 0 and of_its_kind() >= MAX_STREAMS then return answer('too_many_streams') end
local skipped = 0
local once_key = once and prefix .. 'once:' .. writer
if once then
  if redis.call('EXISTS', once_key) == 1 then return answer('appended') end
elseif first then
  if first > expected then return answer('gap') end
  skipped = expected - first
end
local count = #ARGV - FIRST_CHUNK + 1 - skipped
if count <= 0 then return answer('appended') end

-- 1. Store.

local last = redis.call('HINCRBY', history_key, 'sequence', count)
local first_index, size, body = index, 0, {}
local now_ms = integer(math.floor(now / 1000))
for i = 1, count do
  local chunk = ARGV[FIRST_CHUNK + skipped + i - 1]
  redis.call('XADD', stream_key, integer(last - count + i) .. '-0', integer(index), chunk, 't', now_ms)
  size = size + #chunk
  index = index + 1
end
bytes = bytes + size + count * CHUNK_COSTS
local fields = {'next', integer(index)}
if once then
  redis.call('SET', once_key, '1', 'PX', integer(once))
elseif writer ~= '' then
  expected = expected + count
  if string.sub(writers, -#writer - 1) ~= writer .. ';' then  -- who wrote last stands last
    local before = string.find(';' .. writers, ';' .. writer .. ';', 1, true)
    if before then writers = string.sub(writers, 1, before - 1) .. string.sub(writers, before + #writer + 1) end
    writers = writers .. writer .. ';'
    local oldest = string.match(writers, '^[^;]+;')
    if select(2, string.gsub(writers, ';', '')) > MAX_WRITERS then
      writers = string.sub(writers, #oldest + 1)
      redis.call('HDEL', state_key, 'writer:' .. string.sub(oldest, 1, -2))
    end
    fields[#fields + 1] = 'writers'; fields[#fields + 1] = writers
  end
  fields[#fields + 1] = 'writer:' .. writer; fields[#fields + 1] = integer(expected)
end

-- 2. Over the limit the oldest chunks go; readers are told by the index at which the stream begins.

if bytes > most_bytes then
  local gone, first_kept
  local step = 1  -- to look at a chunk is to copy it, and they may be large: not many more than go
  while bytes > most_bytes do
    local oldest = redis.call('XRANGE', stream_key, '-', '+', 'COUNT', step)
    step = math.min(2 * step, 64)
    for _, entry in ipairs(oldest) do
      if bytes <= most_bytes then break end
      bytes = bytes - #entry[2][2] - (entry[2][3] and CHUNK_COSTS or TIMELESS_COSTS)
      gone, first_kept = entry[1], tonumber(entry[2][1]) + 1
      redis.call('XDEL', stream_key, entry[1])
    end
    if #oldest == 0 then break end
  end
  if gone then
    for _, part in ipairs({'trimmed', string.match(gone, '^%d+'), 'first', integer(first_kept)}) do
      fields[#fields + 1] = part
    end
  end
end
fields[#fields + 1] = 'bytes'; fields[#fields + 1] = integer(bytes)
redis.call('HSET', state_key, unpack(fields))

-- 3. It lives as long as its run, which is renewed by its own changes and its lease, and renews its streams with itself.

local row_lifetime = redis.call('PTTL', row_key)
local lifetime = math.min(row_lifetime, key_lifetime(kept_streams))
redis.call('PEXPIRE', stream_key, integer(lifetime))
redis.call('PEXPIRE', state_key, integer(lifetime))

-- 4. Tell. (codec.py, decode_event, has the meaning of each letter)

local message = {
  '{"s":', integer(last), ',"e":"', history.epoch, '","r":"', run, '","k":"', stream,
  '","u":', integer(math.floor(now / 1000)), ',"o":', integer(first_index), ',"n":', integer(count),
}
if size <= largest_message then
  for i = 1, count do body[i] = cjson.encode(ARGV[FIRST_CHUNK + skipped + i - 1]) end
  message[#message + 1] = ',"a":[' .. table.concat(body, ',') .. ']'
end
message[#message + 1] = '}'
redis.call(publish, prefix .. 'changes:streams:' .. run, table.concat(message))

history.sequence = last
return answer('appended')
