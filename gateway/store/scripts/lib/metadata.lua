-- What operations do to metadata (Trigger.dev realtime protocol, section 5.2), on literal top-level keys. Those that need a
-- value taken apart come as `set` and `delete`, computed by the publisher from a version it names.

-- Appending or incrementing again is not the same. So such a change has a name (`once`, of eight characters), and the
-- last names are kept for whoever had no answer and asks again; the children of a batch count in their parent together.
local KEPT_ONCE, ONCE_LENGTH = 64, 8

local function is_known(known, once)
  local at = string.find(known, once, 1, true)
  while at and at % ONCE_LENGTH ~= 1 do at = string.find(known, once, at + 1, true) end
  return at ~= nil
end

local function with_once(known, once) return string.sub(once .. known, 1, KEPT_ONCE * ONCE_LENGTH) end

-- A document as far as it was looked at: `stored` and `values` are JSON by key, false when there is none; `keys` in order.
local function open_metadata(key) return {key = key, stored = {}, values = {}, keys = {}} end

local function current(document, key)
  local value = document.values[key]
  if value == nil then
    value = redis.call('HGET', document.key, key)
    document.stored[key], document.values[key] = value, value
    document.keys[#document.keys + 1] = key
  end
  return value
end

-- The shortest text that reads back as the same number, as every JSON writer would print it.
local function number_text(number)
  if number == 0 then return '0' end  -- not -0
  if number == math.floor(number) and math.abs(number) < 9007199254740992 then return integer(number) end
  for digits = 15, 17 do
    local text = string.format('%.' .. digits .. 'g', number)
    if tonumber(text) == number then return text end
  end
end

local function operate(document, operation, key, json)
  if operation == 'clear' then
    for _, name in ipairs(redis.call('HKEYS', document.key)) do current(document, name) end
    for _, name in ipairs(document.keys) do document.values[name] = false end
    return
  end
  local before = current(document, key)
  if operation == 'delete' then
    json = false
  elseif operation == 'append' then
    if not before or before == '[]' then json = '[' .. json .. ']'
    elseif string.sub(before, 1, 1) == '[' then json = string.sub(before, 1, -2) .. ',' .. json .. ']'
    else json = '[' .. before .. ',' .. json .. ']' end
  elseif operation == 'increment' then
    local sum = (before and string.match(before, '^%-?%d') and tonumber(before) or 0) + tonumber(json)
    if math.abs(sum) == math.huge then return end  -- JSON knows no infinity
    json = number_text(sum)
  end
  document.values[key] = json
end

-- The keys whose values are not what they were, and how many bytes more the document has. A key that was changed and
-- changed back is no change.
local function differences(document)
  local names, growth = {}, 0
  for _, key in ipairs(document.keys) do
    local before, after = document.stored[key], document.values[key]
    if before ~= after then
      names[#names + 1] = key
      if before then growth = growth - #key - #before - 4 end
      if after then growth = growth + #key + #after + 4 end
    end
  end
  return names, growth
end

-- What is new lives as long as its run, unless that is renewed with it anyway.
local function store_metadata(document, names, row_key, is_new)
  -- What comes before what goes: an empty hash is removed, and its lifetime with it.
  for _, key in ipairs(names) do
    if document.values[key] then redis.call('HSET', document.key, key, document.values[key]) end
  end
  for _, key in ipairs(names) do
    if not document.values[key] then redis.call('HDEL', document.key, key) end
  end
  if is_new then redis.call('PEXPIRE', document.key, redis.call('PTTL', row_key)) end
end
