-- Runs of a feed, the newest first: by the number under which each was created, which never changes, so that pages are stable.
--
-- KEYS  1 the feed's runs by that number
-- ARGV  prefix, number before which to go on ('' for the newest), created since (ms), most runs, task, batch, tags, statuses
--       (raw; each a comma list, '' for any), whether metadata is wanted (1), names of columns…
-- Returns {rows, next}: each row as in read_page.lua; `next` is the number to go on before, '' when there are no more.
-- A page may be short, even empty, though more follow: one step looks at so many runs only.

local prefix, before, since, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local task, batch, with_metadata = ARGV[5], ARGV[6], ARGV[9] == '1'
local columns = {unpack(ARGV, 10)}
local SCAN, MOST_BYTES = 2000, 4 * 1024 * 1024

local function set_of(text)
  local set, some = {}, false
  for name in string.gmatch(text, '[^,]+') do set[name], some = true, true end
  return some and set
end
local tags, statuses = set_of(ARGV[7]), set_of(ARGV[8])

local function matches(row)
  if tonumber(row[1]) < since then return false end
  if task ~= '' and row[3] ~= task or batch ~= '' and row[4] ~= batch then return false end
  if statuses and not statuses[row[5]] then return false end
  local carried = ',' .. (row[6] or '') .. ','
  for tag in pairs(tags or {}) do
    if not string.find(carried, ',' .. tag .. ',', 1, true) then return false end
  end
  return true
end

local rows, bytes, looked = {}, 0, 0
local highest = before == '' and '+inf' or '(' .. before
while true do
  local entries = redis.call('ZREVRANGEBYSCORE', KEYS[1], highest, '-inf', 'WITHSCORES', 'LIMIT', 0, 100)
  if #entries == 0 then return {rows, ''} end
  for i = 1, #entries, 2 do
    local id, number = entries[i], entries[i + 1]
    local key = prefix .. 'run:' .. id
    local own = redis.call('HMGET', key, '_created', '_inserted', '_task', '_batch', '_status', '_tags', '_sequence', '_version')
    if not own[1] then
      redis.call('ZREM', KEYS[1], id)
    else
      -- What is older in this order was known earlier still, and nothing is created after it is known.
      if tonumber(own[2]) < since then return {rows, ''} end
      if matches(own) then
        local values = redis.call('HMGET', key, unpack(columns))
        local metadata = with_metadata and redis.call('HGETALL', prefix .. 'metadata:' .. id) or {}
        for _, value in ipairs(values) do bytes = bytes + (value and #value or 0) end
        for _, value in ipairs(metadata) do bytes = bytes + #value end
        rows[#rows + 1] = {id, own[7], own[8] or '0', values, metadata}
      end
    end
    looked = looked + 1
    if #rows == most or bytes >= MOST_BYTES or looked == SCAN then return {rows, number} end
    highest = '(' .. number
  end
end
