-- Puts chunks at the end of streams of runs, and tells who follows those. Each append is all or nothing.
-- include lib/history.lua
-- include lib/retention.lua
-- include lib/inputs.lua
-- include lib/errors.lua
--
-- KEYS  1 history of the environment
-- ARGV  prefix, publish command, lifetime of an unfinished run (ms), longest lifetime of a stream (ms), most bytes of a stream,
--       largest message that is published; then the appends, each:
--       run, key of the stream, writer ('' for none), the writer's number of the first chunk ('' for whatever comes next),
--       how long a writer that writes once is known (ms; '' for one that goes on), number of chunks, chunks (JSON)…
-- Returns for each {outcome, epoch, sequence of the last chunk, index of the next chunk, the writer's next number,
-- announced}, outcome one of
--   appended          those that the writer had not appended before are stored
--   missing           there is no such run
--   gap               the writer's first chunk is not its next one
--   too_many_streams
-- or, when there are several and something is wrong with one, the error in its place. `announced` is 0 when the run's row does
-- not name the stream yet: say so with apply_changes.lua.
--
-- A writer numbers its chunks. So whoever had no answer appends the same again, and what was stored is skipped: exactly once,
-- wherever it was cut off. Every chunk takes a number of the environment, so that a cursor means the same here as in any feed.
-- Whoever writes once is known for a time by a key of its own: a thousand of those must not push out one who goes on.

local prefix, publish = ARGV[1], ARGV[2]
local kept, kept_streams = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept_for = integer(math.min(kept, kept_streams))
local most_bytes, largest_message = tonumber(ARGV[5]), tonumber(ARGV[6])
local FIRST_APPEND, FIXED = 7, 6
local history_key = KEYS[1]
local MAX_STREAMS, MAX_WRITERS = 100, 64
-- What Redis needs for a small chunk besides its text, with the time that it came and without: a limit for memory must
-- count it.
local CHUNK_COSTS, TIMELESS_COSTS = 40, 24

local now = now_microseconds()
local now_ms = math.floor(now / 1000)
local now_text = integer(now_ms)
local history = read_history(history_key, now, key_lifetime(kept))

-- What is sent into a run counts by itself: whoever may send must not keep the job from writing.
local function of_its_kind(stream, streams)
  local count = 0
  for name in string.gmatch(streams, '[^,]+') do
    if is_input(name) == is_input(stream) then count = count + 1 end
  end
  return count
end

-- The writers that are known, with this one last, and the one that has to be forgotten for it.
local function with_writer(writers, writer)
  if string.sub(writers, -#writer - 1) == writer .. ';' then return writers end
  local before = string.find(';' .. writers, ';' .. writer .. ';', 1, true)
  if before then writers = string.sub(writers, 1, before - 1) .. string.sub(writers, before + #writer + 1) end
  writers = writers .. writer .. ';'
  if select(2, string.gsub(writers, ';', '')) <= MAX_WRITERS then return writers end
  local oldest = string.match(writers, '^[^;]+')
  return string.sub(writers, #oldest + 2), oldest
end

-- Over the limit the oldest chunks go; readers are told by the index at which the stream begins. Returns the bytes that are left,
-- the number of the last chunk that went, and the index of the first that is kept.
local function trim(stream_key, bytes)
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
  return bytes, gone and string.match(gone, '^%d+'), first_kept
end

local function append(at, count)
  local run, stream, writer, once = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 4])
  local row_key, name = prefix .. 'run:' .. run, run .. ',' .. stream
  local stream_key, state_key = prefix .. 'stream:' .. name, prefix .. 'stream-state:' .. name
  local row = redis.call('HMGET', row_key, '_created', '_streams')
  local state = redis.call('HMGET', state_key, 'next', 'bytes', 'renewed', 'renewed_for', 'writers', 'writer:' .. writer)
  local index, expected, streams = tonumber(state[1] or 0), tonumber(state[6] or 0), row[2] or ''
  local announced = string.find(',' .. streams .. ',', ',' .. stream .. ',', 1, true) and 1 or 0
  local function answer(outcome)
    return {outcome, history.epoch, integer(history.sequence), integer(index), integer(expected), announced}
  end

  if not row[1] then return answer('missing') end
  if announced == 0 and of_its_kind(stream, streams) >= MAX_STREAMS then return answer('too_many_streams') end
  local skipped, first = 0, tonumber(ARGV[at + 3])
  local once_key = once and prefix .. 'once:' .. writer
  if once then
    if redis.call('EXISTS', once_key) == 1 then return answer('appended') end
  elseif first then
    if first > expected then return answer('gap') end
    skipped = expected - first
  end
  count = count - skipped
  if count <= 0 then return answer('appended') end

  -- 1. Store.

  local last, before = redis.call('HINCRBY', history_key, 'sequence', count), at + FIXED + skipped - 1
  local first_index, size = index, 0
  for i = 1, count do
    local chunk = ARGV[before + i]
    redis.call('XADD', stream_key, integer(last - count + i) .. '-0', index, chunk, 't', now_text)
    size = size + #chunk
    index = index + 1
  end
  local fields = {'next', index}
  if once then
    redis.call('SET', once_key, '1', 'PX', integer(once))
  elseif writer ~= '' then
    expected = expected + count
    local writers, forgotten = with_writer(state[5] or '', writer)
    if writers ~= state[5] then fields[#fields + 1] = 'writers'; fields[#fields + 1] = writers end
    if forgotten then redis.call('HDEL', state_key, 'writer:' .. forgotten) end
    fields[#fields + 1] = 'writer:' .. writer; fields[#fields + 1] = expected
  end
  local bytes = tonumber(state[2] or 0) + size + count * CHUNK_COSTS
  if bytes > most_bytes then
    local gone, first_kept
    bytes, gone, first_kept = trim(stream_key, bytes)
    if gone then
      for _, part in ipairs({'trimmed', gone, 'first', first_kept}) do fields[#fields + 1] = part end
    end
  end
  fields[#fields + 1] = 'bytes'; fields[#fields + 1] = bytes

  -- 2. It lives as long as its run, which is renewed by its own changes and its lease, and renews its streams with itself; and not
  -- longer than a stream may after its last chunk.

  local renews = state[4] ~= kept_for or renewal_is_due(math.min(kept, kept_streams), now_ms - state[3])
  if renews then
    for _, part in ipairs({'renewed', now_text, 'renewed_for', kept_for}) do fields[#fields + 1] = part end
  end
  redis.call('HSET', state_key, unpack(fields))
  if renews then
    local lifetime = integer(math.min(redis.call('PTTL', row_key), key_lifetime(kept_streams)))
    redis.call('PEXPIRE', stream_key, lifetime)
    redis.call('PEXPIRE', state_key, lifetime)
  end

  -- 3. Tell. (codec.py, decode_event, has the meaning of each letter)

  local body = ''
  if size <= largest_message then
    local texts = {}
    for i = 1, count do texts[i] = cjson.encode(ARGV[before + i]) end
    body = ',"a":[' .. table.concat(texts, ',') .. ']'
  end
  history.sequence = last
  redis.call(publish, prefix .. 'changes:streams:' .. run, '{"s":' .. integer(last) .. ',"e":"' .. history.epoch .. '","r":"' .. run
    .. '","k":"' .. stream .. '","u":' .. now_text .. ',"o":' .. first_index .. ',"n":' .. count .. body .. '}')
  return answer('appended')
end

local answers, at = {}, FIRST_APPEND
while at < #ARGV do
  local count = tonumber(ARGV[at + FIXED - 1])
  local following = at + FIXED + count
  if at == FIRST_APPEND and following > #ARGV then return {append(at, count)} end
  local done, result = pcall(append, at, count)
  answers[#answers + 1] = done and result or error_of(result)
  at = following
end
return answers
