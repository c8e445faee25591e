-- Tells who follows a run what changed of it. (codec.py, decode_event, has the meaning of each letter)

local function quoted(list)  -- names with commas between them, as JSON
  return list and list ~= '' and '"' .. string.gsub(list, ',', '","') .. '"' or ''
end

local function event_start(sequence, run, created, tags)
  return '{"s":' .. sequence .. ',"e":"' .. history.epoch .. '","r":"' .. run .. '","b":' .. created
    .. ',"g":[' .. quoted(tags) .. '],"c":{'
end

-- The parts of an event that say which keys of the metadata changed and which are gone.
local function metadata_parts(document, names)
  local changed, gone = {}, {}
  for _, key in ipairs(names) do
    local value = document.values[key]
    if value then changed[#changed + 1] = cjson.encode(key) .. ':' .. value
    else gone[#gone + 1] = cjson.encode(key) end
  end
  return (#changed > 0 and ',"m":{' .. table.concat(changed, ',') .. '}' or '')
    .. (#gone > 0 and ',"d":[' .. table.concat(gone, ',') .. ']' or '')
end

-- Puts the run at the end of every feed that holds it.
local function move(run, feeds, sequence)
  for _, feed in ipairs(feeds) do redis.call('ZADD', prefix .. 'feed:' .. feed, sequence, run) end
end

local function tell(run, feeds, message)
  redis.call(publish, prefix .. 'changes:run:' .. run, message)
  for _, feed in ipairs(feeds) do redis.call(publish, prefix .. 'changes:' .. feed, message) end
end
