-- Rows of a feed that changed after a number, oldest change first, as many as one page holds.
-- include lib/history.lua
--
-- KEYS  1 history of the environment   2 index of the feed (for a run feed: its row)
-- ARGV  prefix, lifetime of the history (ms), epoch ('' for any), kind, run id (run feeds), after, most rows, most bytes, created since (ms),
--       tags (comma list, all of them), whether metadata is wanted (1), names of columns…
-- Returns {epoch, end, complete, rows}: every row of the feed numbered above `after` and up to `end` is in `rows`, each
-- {id, number, metadata version, {JSON of each column, or false}, {key, JSON, …}}. When `complete` is 1 there are no others, and
-- `end` is the number of the environment's newest change. When `epoch` is not the one asked for, nothing was read.
--
-- One page is read in one step, so its rows are from one moment. A run that changes between two pages leaves its place and comes
-- again at the end: a reader of all pages misses nothing.

local prefix, epoch, kind, run = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local after, most_rows, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local since, tags, with_metadata = tonumber(ARGV[9]), ARGV[10], ARGV[11] == '1'
local columns = {unpack(ARGV, 12)}
local SCAN = 1000  -- entries looked at in one step, so that a sparse filter does not hold the server up

local history = read_history(KEYS[1], now_microseconds(), tonumber(ARGV[2]))
if epoch ~= '' and history.epoch ~= epoch then return {history.epoch, '0', 0, {}} end

local wanted = {}
for tag in string.gmatch(tags, '[^,]+') do wanted[#wanted + 1] = ',' .. tag .. ',' end

local function matches(row)
  if since > 0 and tonumber(row[1]) < since then return false end
  local carried = ',' .. (row[2] or '') .. ','
  for _, tag in ipairs(wanted) do
    if not string.find(carried, tag, 1, true) then return false end
  end
  return true
end

local rows, bytes = {}, 0
local function read(id)
  local key = prefix .. 'run:' .. id
  local own = redis.call('HMGET', key, '_created', '_tags', '_sequence', '_version')
  if not own[1] then return 'dead' end
  if tonumber(own[3]) <= after or not matches(own) then return 'skipped' end
  local values = redis.call('HMGET', key, unpack(columns))
  local metadata = with_metadata and redis.call('HGETALL', prefix .. 'metadata:' .. id) or {}
  for _, value in ipairs(values) do bytes = bytes + (value and #value or 0) end
  for _, value in ipairs(metadata) do bytes = bytes + #value end
  rows[#rows + 1] = {id, own[3], own[4] or '0', values, metadata}
  return 'read'
end

if kind == 'run' then
  read(run)
  return {history.epoch, integer(history.sequence), 1, rows}
end

local entries = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. integer(after), '+inf', 'WITHSCORES', 'LIMIT', 0, SCAN)
for i = 1, #entries, 2 do
  if read(entries[i]) == 'dead' then redis.call('ZREM', KEYS[2], entries[i]) end
  local last = i + 2 > #entries
  if not last and (#rows >= most_rows or bytes >= most_bytes) then
    return {history.epoch, entries[i + 1], 0, rows}
  end
end
if #entries == 2 * SCAN then return {history.epoch, entries[#entries], 0, rows} end
return {history.epoch, integer(history.sequence), 1, rows}
