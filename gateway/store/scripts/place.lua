-- Where a viewer of a feed starts to read: the history, and the number from which on the newest `limit` runs stand.
-- include lib/history.lua
--
-- KEYS  1 history of the environment   2 index of the feed (for a run feed: its row; for a stream: its state)
-- ARGV  prefix, lifetime of the history (ms), kind of the feed, limit, created since (ms), tags (comma list, all of them)
-- Returns {epoch, sequence, past, start, truncated}: rows numbered above `start` are those to show; `truncated` is 1
-- when more runs match.

local prefix, lifetime, kind = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local limit, since, tags = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local history = read_history(KEYS[1], now_microseconds(), lifetime)

local function answer(start, truncated)
  return {history.epoch, integer(history.sequence), history.past, integer(start), truncated}
end

if kind == 'run' then return answer(0, 0) end
-- Of a stream, its state: chunks up to this number were removed to keep it within its limit.
if kind == 'stream' then return answer(tonumber(redis.call('HGET', KEYS[2], 'trimmed') or 0), 0) end

if since == 0 and tags == '' then
  -- The (limit + 1)th newest is the first that is not shown.
  local beyond = redis.call('ZREVRANGE', KEYS[2], limit, limit, 'WITHSCORES')
  if #beyond == 0 then return answer(0, 0) end
  return answer(tonumber(beyond[2]), 1)
end

local wanted = {}
for tag in string.gmatch(tags, '[^,]+') do wanted[#wanted + 1] = ',' .. tag .. ',' end

local matched, position = 0, 0
while true do
  local page = redis.call('ZREVRANGE', KEYS[2], position, position + 199, 'WITHSCORES')
  if #page == 0 then return answer(0, 0) end
  for i = 1, #page, 2 do
    local row = redis.call('HMGET', prefix .. 'run:' .. page[i], '_created', '_updated', '_tags')
    if row[1] then
      -- A run is changed no earlier than it is created, so nothing below this one is young enough.
      if tonumber(row[2]) < since then return answer(tonumber(page[i + 1]), 0) end
      local carried, carries = ',' .. (row[3] or '') .. ',', true
      for _, tag in ipairs(wanted) do carries = carries and string.find(carried, tag, 1, true) ~= nil end
      if carries and tonumber(row[1]) >= since then
        if matched == limit then return answer(tonumber(page[i + 1]), 1) end
        matched = matched + 1
      end
    end
  end
  position = position + 200
end
