-- Tells who follows a run what changed of it. (codec.py, decode_event, has the meaning of each letter)

local function event_start(sequence, run, created, home)
  return '{"s":' .. sequence .. ',"e":"' .. history.epoch .. '","r":"' .. run .. '","b":' .. created
    .. ',"g":[' .. home.tags .. '],"c":{'
end

-- The parts of an event that say which keys of the metadata changed and which are gone.
local function metadata_parts(document, names)
  local only = #names == 1 and document.values[names[1]]
  if only then return ',"m":{' .. cjson.encode(names[1]) .. ':' .. only .. '}' end  -- as of most ticks
  local changed, gone = {}, {}
  for _, key in ipairs(names) do
    local value = document.values[key]
    if value then changed[#changed + 1] = cjson.encode(key) .. ':' .. value
    else gone[#gone + 1] = cjson.encode(key) end
  end
  return (#changed > 0 and ',"m":{' .. table.concat(changed, ',') .. '}' or '')
    .. (#gone > 0 and ',"d":[' .. table.concat(gone, ',') .. ']' or '')
end

-- The run's own channel has nobody else's events, so they are not gathered.
local function tell(run, home, event)
  redis.call(publish, prefix .. 'changes:run:' .. run, event)
  tell_feeds(home, event)
end
