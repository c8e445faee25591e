-- Runs of some feeds, by the number under which each was created, which never changes, so that pages are stable: the newest
-- first, or, from a place on towards the newer ones, the oldest first.
--
-- KEYS  each feed's runs by that number
-- ARGV  prefix, number before which to go on ('' for the newest), number after which ('' unless towards the newer ones),
--       created since and until (ms; 0 for any), most runs, batch; then tasks, tags that it has all of, tags that it has any of,
--       statuses (raw; each a comma list, '' for any); whether it is a test (1, 0, '' for both), whether metadata is wanted
--       (1), names of columns…
-- Returns {rows, next}: each row as in read_page.lua, and its number; `next` is the number to go on from, '' when there are no
-- more. A page may be short, even empty, though more follow: one step looks at so many runs only.

local prefix, before, after = ARGV[1], ARGV[2], ARGV[3]
local since, until_ms, most, batch = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local is_test, with_metadata = ARGV[12], ARGV[13] == '1'
local columns = {unpack(ARGV, 14)}
local upwards = after ~= ''
local SCAN, STEP, MOST_BYTES = 2000, 100, 4 * 1024 * 1024

local function set_of(text)
  local set, some = {}, false
  for name in string.gmatch(text, '[^,]+') do set[name], some = true, true end
  return some and set
end
local tasks, tags, any_tags, statuses = set_of(ARGV[8]), set_of(ARGV[9]), set_of(ARGV[10]), set_of(ARGV[11])

local function carries(row, tag) return string.find(',' .. (row[6] or '') .. ',', ',' .. tag .. ',', 1, true) end

local function carries_any(row)
  for tag in pairs(any_tags) do
    if carries(row, tag) then return true end
  end
end

local function matches(row, key)
  local created = tonumber(row[1])
  if created < since or until_ms > 0 and created > until_ms then return false end
  if tasks and not tasks[row[3] or ''] or batch ~= '' and row[4] ~= batch then return false end
  if statuses and not statuses[row[5]] then return false end
  for tag in pairs(tags or {}) do
    if not carries(row, tag) then return false end
  end
  if any_tags and not carries_any(row) then return false end
  return is_test == '' or (redis.call('HGET', key, 'isTest') == 'true') == (is_test == '1')
end

-- The next runs of all feeds together, in order, each once: {id, number}. What lies beyond the last one of a feed that has
-- more is not known yet.
local function next_entries(place)
  local entries, seen, bound = {}, {}, nil
  for _, feed in ipairs(KEYS) do
    local found
    if upwards then found = redis.call('ZRANGEBYSCORE', feed, place, '+inf', 'WITHSCORES', 'LIMIT', 0, STEP)
    else found = redis.call('ZREVRANGEBYSCORE', feed, place, '-inf', 'WITHSCORES', 'LIMIT', 0, STEP) end
    for i = 1, #found, 2 do
      if not seen[found[i]] then
        seen[found[i]] = true
        entries[#entries + 1] = {found[i], found[i + 1], tonumber(found[i + 1])}
      end
    end
    if #found == 2 * STEP then
      local last = tonumber(found[#found])
      bound = not bound and last or upwards and math.min(bound, last) or math.max(bound, last)
    end
  end
  table.sort(entries, function(a, b)
    if upwards then return a[3] < b[3] end
    return a[3] > b[3]
  end)
  while bound and (upwards and entries[#entries][3] > bound or not upwards and entries[#entries][3] < bound) do
    entries[#entries] = nil
  end
  return entries
end

local rows, bytes, looked = {}, 0, 0
local place = upwards and '(' .. after or before == '' and '+inf' or '(' .. before
while true do
  local entries = next_entries(place)
  if #entries == 0 then return {rows, ''} end
  for _, entry in ipairs(entries) do
    local id, number = entry[1], entry[2]
    local key = prefix .. 'run:' .. id
    local own = redis.call('HMGET', key, '_created', '_inserted', '_task', '_batch', '_status', '_tags', '_sequence', '_version')
    if not own[1] then
      for _, feed in ipairs(KEYS) do redis.call('ZREM', feed, id) end
    else
      -- What is older in this order was known earlier still, and nothing is created after it is known.
      if not upwards and tonumber(own[2]) < since then return {rows, ''} end
      if matches(own, key) then
        local values = redis.call('HMGET', key, unpack(columns))
        local metadata = with_metadata and redis.call('HGETALL', prefix .. 'metadata:' .. id) or {}
        for _, value in ipairs(values) do bytes = bytes + (value and #value or 0) end
        for _, value in ipairs(metadata) do bytes = bytes + #value end
        rows[#rows + 1] = {id, own[7], own[8] or '0', values, metadata, number}
      end
    end
    looked = looked + 1
    if #rows == most or bytes >= MOST_BYTES or looked == SCAN then return {rows, number} end
    place = '(' .. number
  end
end
