-- Which epoch an environment is in, and the number of its newest change.
--
-- Lua sees what a client can't be sure to see in time: the replication id of the very server that runs this
-- script. It changes when the server was restarted or another one was promoted, so the first script that runs
-- after that, whoever calls it, ends the old epoch where the data ends and begins a new one.

local MAX_PAST = 32  -- epochs that cursors may come from; a viewer with an older one gets a fresh snapshot

local function integer(number)
  return string.format('%.0f', number)  -- tostring() would print large numbers as 1.7e+12
end

local function now_microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A server where INFO is not allowed can't tell about its restarts; losing all data is noticed even there.
local function replication_id()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '' end
  local _, before = string.find(info, 'master_replid:', 1, true)  -- plain: a pattern takes twice as long
  return before and string.match(info, '^%x+', before + 1) or ''
end

-- key: hash of `epoch`, `replid`, `sequence`, `past` ("epoch:last;…", newest first)
-- Returns the table {epoch, sequence, past}; begins an epoch when there is none or the server is another one.
local function read_history(key, now, lifetime)
  local stored = redis.call('HMGET', key, 'epoch', 'replid', 'sequence', 'past')
  local replid = replication_id()
  if stored[1] and stored[2] == replid then
    return {epoch = stored[1], sequence = tonumber(stored[3]), past = stored[4]}
  end
  local past, sequence = '', nil
  if stored[1] then
    sequence = tonumber(stored[3])
    past = stored[1] .. ':' .. stored[3] .. ';'
    for entry in string.gmatch(stored[4], '[^;]+;') do
      local _, kept = string.gsub(past, ';', '')
      if kept == MAX_PAST then break end
      past = past .. entry
    end
  else
    -- Numbers start at the clock, not at one: should only this key be lost (evicted, say), the rows and
    -- indexes that survive still have smaller numbers than everything that comes.
    sequence = math.floor(now / 1000)
  end
  -- Environments that begin in the same microsecond are told apart by name.
  local name = string.sub(redis.sha1hex(key), 1, 3)
  local epoch = string.format('%x%08x', math.floor(now / 4294967296), now % 4294967296) .. name
  redis.call('HSET', key, 'epoch', epoch, 'replid', replid, 'sequence', integer(sequence), 'past', past)
  redis.call('PEXPIRE', key, integer(lifetime))
  return {epoch = epoch, sequence = sequence, past = past}
end
