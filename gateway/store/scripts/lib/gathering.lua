-- What the changes of one call bring to what many runs share: places in indexes, lifetimes, and events on the channels of feeds.
-- It is gathered, and brought there at the end of the call: thirty places in one ZADD, and thirty events in one PUBLISH, cost
-- little more than one. Nobody misses it before, since Redis does nothing else until a script has ended; and no change may read it.
--
-- Only what is stored is gathered, so that a change that fails leaves nothing here. For one that comes alone nothing is gathered.

local BETWEEN_EVENTS = '\30'  -- which no JSON has in it (codec.py)
local LARGE_EVENT = 16384  -- does not wait for others: thirty of those would be a message of megabytes

-- Names with commas between them, as JSON.
local function quoted(list)
  return list and list ~= '' and '"' .. string.gsub(list, ',', '","') .. '"' or ''
end

-- Places by the key of their sorted set, {number, run, …}; and these keys in the order in which they came. Tables are few here,
-- since for a feed that has only one of the changes each costs more than it saves.
local places_of, set_keys = {}, {}

local function put(key, number, run)
  if alone then return redis.call('ZADD', key, number, run) end
  local places = places_of[key]
  if places then
    local count = #places
    places[count + 1], places[count + 2] = number, run
  else
    places_of[key], set_keys[#set_keys + 1] = {number, run}, key
  end
end

-- The feeds that hold a run, and its tags as JSON. Runs that are changed together are often in the same ones.
local homes = {}
local function home_of(task, batch, tags)
  local key = (task or '') .. '\n' .. (batch or '') .. '\n' .. (tags or '')
  local home = homes[key]
  if not home then
    home = feeds_of(task, batch, tags)
    home.tags = quoted(tags)
    homes[key] = home
  end
  return home
end

-- Puts the run at the end of every feed that holds it.
local function move(run, home, number)
  for i = 1, #home do put(prefix .. 'feed:' .. home[i], number, run) end
end

-- Events by the name of their feed: one as it is, several as a list; and these names in the order in which they came.
local events_of, names_told = {}, {}

local function publish_events(name)
  local events = events_of[name]
  if type(events) == 'table' then events = table.concat(events, BETWEEN_EVENTS) end
  if events then redis.call(publish, prefix .. 'changes:' .. name, events) end
  events_of[name] = false
end

local function hold(name, event)
  local events = events_of[name]
  if events == nil then names_told[#names_told + 1] = name end
  if not events then events_of[name] = event
  elseif type(events) == 'string' then events_of[name] = {events, event}
  else events[#events + 1] = event end
  if #event > LARGE_EVENT then publish_events(name) end
end

local function tell_feeds(home, event)
  for i = 1, #home do
    if alone then redis.call(publish, prefix .. 'changes:' .. home[i], event)
    else hold(home[i], event) end
  end
end

-- Runs of a feed are listed by the number of their first change (list_runs.lua).
local new_runs, entered = 0, {}
local function enter(run, home, number, is_new)
  for _, name in ipairs(home) do
    put(prefix .. 'created:' .. name, number, run)
    if is_new then entered[name] = true end
  end
  if is_new then new_runs = new_runs + 1 end
end

-- A run is due to be removed at that moment (ms).
local function put_due(run, moment) put(prefix .. 'due', integer(moment), run) end

-- Some keys that runs share live at least so long: those of these feeds, and `due` and the like.
local longest, lifetimes = 0, {}
local function let_live(home, lifetime)
  if lifetime > longest then longest = lifetime end
  for _, name in ipairs(home) do
    if lifetime > (lifetimes[name] or 0) then lifetimes[name] = lifetime end
  end
end

-- What is wrong with a key that several runs share is answered to whatever changed them.
local function bring_places()
  for _, key in ipairs(set_keys) do
    local places = places_of[key]
    local result = redis.pcall('ZADD', key, unpack(places))
    if type(result) == 'table' then
      local runs = {}
      for i = 2, #places, 2 do runs[places[i]] = true end
      for i, change in ipairs(changes) do
        if runs[change.run] then answers[i] = result end
      end
    end
  end
end

local function bring_lifetimes()
  if longest == 0 then return end
  for _, name in ipairs({'due', 'deadlines', 'history'}) do extend(prefix .. name, longest) end
  for name, lifetime in pairs(lifetimes) do
    extend(prefix .. 'feed:' .. name, lifetime)
    extend(prefix .. 'created:' .. name, lifetime)
  end
end

-- Runs whose keys expired while nobody swept leave their ids behind; the oldest of each index are looked at whenever a run enters
-- it, so that an index never grows by more than lives in it. Returns whether some were dead.
local function drop_dead()
  local seen, runs, rows, keys = {}, {}, {}, {}
  for name in pairs(entered) do
    for _, kind in ipairs({'feed:', 'created:'}) do
      local key = prefix .. kind .. name
      keys[#keys + 1] = key
      for _, run in ipairs(redis.call('ZRANGE', key, 0, 1)) do
        if not seen[run] then seen[run], runs[#runs + 1], rows[#rows + 1] = true, run, prefix .. 'run:' .. run end
      end
    end
  end
  if redis.call('EXISTS', unpack(rows)) == #rows then return false end  -- as a rule all live, and one call tells
  for i, row in ipairs(rows) do
    if redis.call('EXISTS', row) == 0 then
      for _, key in ipairs(keys) do redis.call('ZREM', key, runs[i]) end
    end
  end
  return true
end

-- One comes, up to two go: what is kept stays bounded without anyone's help.
local function remove_old()
  local looks = 0
  repeat looks = looks + 1 until not drop_dead() or looks == new_runs
  sweep(prefix, now, 2 * new_runs)
end

local function bring()
  give_numbers_back()
  bring_places()
  bring_lifetimes()
  for _, name in ipairs(names_told) do publish_events(name) end
  if new_runs > 0 then pcall(remove_old) end  -- what is wrong with the old is not the fault of the new
end
