-- Applies one change to one run, all or nothing, and tells everyone who follows it.
-- include lib/history.lua
-- include lib/retention.lua
-- include lib/statuses.lua
-- include lib/deadlines.lua
-- include lib/inputs.lua
--
-- KEYS  1 history of the environment   2 row of the run   3 its metadata
-- ARGV  the fields of `named`, in that order; then lists, each led by its length:
--       columns (name, JSON)*, columns that fill gaps (name, JSON)*, metadata that fills gaps (key, JSON)*, tags*,
--       operations (type, key, JSON)*
-- Returns {outcome, epoch, sequence, status, attempt}, outcome one of
--   applied     stored and published under this number
--   unchanged   it was so already; nothing was published
--   stale       a later status or attempt is known. What came with it and does not belong to it (tags, where the run
--               comes from, operations of the present attempt) is stored and published under this number if it is news
--   missing     there is no such run, and the change may not create it
--   conflict    the metadata is not of the version that the operations were computed from
--   too_large   the metadata would be over its limit; `sequence` is the size it would have
--   too_many_tags
--
-- A lease (`lease`, ms from now; 0 gives it up) is the worker's word that it lives; by itself it changes nothing that anyone is
-- shown. `overdue` marks a status that nobody said: a deadline has passed (overdue.lua), which is looked at once more here.
--
-- What a user wrote (column values, metadata) is JSON text here and never decoded: Lua's cjson would turn []
-- into {} and round large integers. Names of runs, tasks, batches and tags can stand in JSON as they are.

local named = {}
for i, name in ipairs({'prefix', 'publish', 'run', 'create', 'attempt', 'status', 'age', 'kept_finished',
                       'kept_unfinished', 'kept_streams', 'large', 'metadata_limit', 'metadata_version', 'once',
                       'lease', 'ttl', 'max_duration', 'overdue', 'stream'}) do
  named[name] = ARGV[i]
end

local position = 20
local function take(width)
  local list, count = {}, tonumber(ARGV[position])
  position = position + 1
  for i = 1, count do
    list[i] = {unpack(ARGV, position, position + width - 1)}
    position = position + width
  end
  return list
end
local columns, initial, initial_metadata, tags, operations = take(2), take(2), take(2), take(1), take(3)

local prefix, run = named.prefix, named.run
local history_key, row_key, metadata_key = KEYS[1], KEYS[2], KEYS[3]

local MAX_TAGS, MAX_TRANSITIONS = 10, 100
-- Appending or incrementing again is not the same. So such a change has a name (`once`, of eight characters), and the
-- last names are kept for whoever had no answer and asks again; the children of a batch count in their parent together.
local KEPT_ONCE, ONCE_LENGTH = 64, 8

local now = now_microseconds()
local now_ms = math.floor(now / 1000)
local happened_ms = now_ms - tonumber(named.age)  -- later than it happened, when Redis was away
local longest = math.max(tonumber(named.kept_finished), tonumber(named.kept_unfinished))

-- The row's own fields start with an underscore: raw text that this script needs and no viewer sees.
local OWN = {'_status', '_attempt', '_tags', '_task', '_batch', '_created', '_started', '_updated', '_touched',
             '_version', '_bytes', '_transitions', '_once', '_number', '_lease', '_lease_ms', '_ttl', '_max_duration',
             '_began', '_waits', '_deadline', '_presumed', '_streams'}
local row = {}
for i, value in ipairs(redis.call('HMGET', row_key, unpack(OWN))) do row[OWN[i]] = value or nil end
local is_new = row._created == nil
local history = read_history(history_key, now, key_lifetime(longest))

local function answer(outcome, sequence)
  return {outcome, history.epoch, integer(sequence or history.sequence), row._status or '', row._attempt or '0'}
end

if is_new and named.create ~= '1' then return answer('missing') end

-- 1. Is the change late? What it says of the status is then dropped, and of an earlier attempt everything; what it
-- knows of the run's origin (task, payload, tags) still fills gaps, for a worker may have been faster than whoever
-- created the run. Operations are taken as if they had come alone: whether a publisher sent them a moment sooner, or
-- together with the status, makes no difference.

local attempt = tonumber(named.attempt) or tonumber(row._attempt or 1)
local known_attempt = tonumber(row._attempt or 0)
local status = named.status
if is_new and status == '' then status = 'PENDING' end

if named.overdue ~= '' then
  local moment, kind = read_deadline(row._deadline)
  if not moment or kind ~= status or moment > now_ms then return answer('unchanged') end
  happened_ms = moment
end

-- A lease that is renewed after all says that the run goes on.
local presumed_at, presumed = read_deadline(row._presumed)
local lives = (tonumber(named.lease) or 0) > 0
if presumed == 'CRASHED' and status == '' and lives and attempt == known_attempt then status = 'EXECUTING' end
local overruled = attempt == known_attempt and status ~= row._status
  and gives_way(presumed, presumed_at, status, happened_ms, lives)

local late  -- the answer for a change that comes too late, or again
if attempt < known_attempt then
  late, operations = 'stale', {}
elseif status ~= '' and row._status and attempt == known_attempt and not overruled then
  if RANK[status] < RANK[row._status] then late = 'stale'
  elseif RANK[row._status] == FINAL_RANK then late = status == row._status and 'unchanged' or 'stale' end
end
if late then attempt, status, columns = known_attempt, '', {} end
if named.create ~= '1' then initial, initial_metadata = {}, {} end

-- To ask for a run's end makes sense once, and while it goes on.
local function asks_for_end(name) return name == 'cancelRequestedAt' or name == 'cancelReason' end
local asks, others = false, {}
for _, pair in ipairs(columns) do
  if asks_for_end(pair[1]) then asks = true else others[#others + 1] = pair end
end
if asks and (RANK[row._status] == FINAL_RANK or redis.call('HEXISTS', row_key, 'cancelRequestedAt') == 1) then
  columns = others
end
local status_changes = status ~= '' and (is_new or attempt > known_attempt or status ~= row._status)

-- 2. What changes? `changed` are columns as JSON, `own` the script's fields beside them.

local changed, changed_names, own = {}, {}, {}
local function set(name, json)
  if changed[name] == nil then changed_names[#changed_names + 1] = name end
  changed[name] = json
end

local function compare(list, differs)
  if #list == 0 then return end
  local names = {}
  for i, pair in ipairs(list) do names[i] = pair[1] end
  local stored = redis.call('HMGET', row_key, unpack(names))
  for i, pair in ipairs(list) do
    if differs(stored[i], pair[2]) then set(pair[1], pair[2]) end
  end
end
compare(initial, function(stored, json) return not stored and json ~= 'null' end)
compare(columns, function(stored, json) return (stored or 'null') ~= json end)

if is_new then
  set('createdAt', integer(happened_ms))
  set('attempt', integer(attempt))
  own._created = integer(happened_ms)
  own._inserted = integer(now_ms)
  own._attempt = integer(attempt)
end
if changed.ttl then own._ttl = named.ttl end
if changed.maxDuration then own._max_duration = named.max_duration end

local function forget(name)  -- of an earlier attempt
  if redis.call('HEXISTS', row_key, name) == 1 and not changed[name] then set(name, 'null') end
end

if status_changes then
  set('status', '"' .. status .. '"')
  own._status = status
  own._presumed = named.overdue ~= '' and row._deadline or ''
  if not is_new and attempt > known_attempt then
    set('attempt', integer(attempt))
    own._attempt = integer(attempt)
  end
  if not is_new and (attempt > known_attempt or overruled) then
    for _, name in ipairs({'completedAt', 'expiredAt', 'output', 'outputType', 'error', 'usageDurationMs'}) do
      forget(name)
    end
  end
  -- Who asked for its end has it, unless its worker was lost or will try again.
  if attempt > known_attempt and RANK[row._status] == FINAL_RANK and row._status ~= 'CRASHED' then
    forget('cancelRequestedAt')
    forget('cancelReason')
  end
  if status == 'PENDING' then set('queuedAt', integer(happened_ms)) end
  if status == 'EXECUTING' and not row._started then
    set('startedAt', integer(happened_ms))
    own._started = integer(happened_ms)
  end
  -- How long it may take counts for each attempt, without the time that it waits.
  local waits = tonumber(row._waits or '')
  if WAITS[status] then
    own._waits = waits and row._waits or integer(happened_ms)
  else
    if waits then own._waits = '' end
    if status == 'EXECUTING' then
      local began = attempt == known_attempt and tonumber(row._began or '')
      own._began = integer(began and began + (waits and math.max(0, happened_ms - waits) or 0) or happened_ms)
    end
  end
  if RANK[status] == FINAL_RANK then
    set('completedAt', integer(happened_ms))
    if status == 'EXPIRED' then set('expiredAt', integer(happened_ms)) end
    if row._started and not changed.usageDurationMs then
      set('usageDurationMs', integer(math.max(0, happened_ms - tonumber(row._started))))
    end
  end
end

-- 3. Tags that the run does not carry yet.

local added = {}
if #tags > 0 then
  local carried = ',' .. (row._tags or '') .. ','
  local count = select(2, string.gsub(row._tags or '', '[^,]+', ''))
  for _, tag in ipairs(tags) do
    if not string.find(carried, ',' .. tag[1] .. ',', 1, true) then
      added[#added + 1] = tag[1]
      carried = carried .. tag[1] .. ','
      count = count + 1
    end
  end
  if count > MAX_TAGS then return answer('too_many_tags') end
  if #added > 0 then
    own._tags = string.sub(carried, 2, -2)
    if string.sub(own._tags, 1, 1) == ',' then own._tags = string.sub(own._tags, 2) end
    set('runTags', '["' .. string.gsub(own._tags, ',', '","') .. '"]')
  end
end

if named.stream ~= '' and not string.find(',' .. (row._streams or '') .. ',', ',' .. named.stream .. ',', 1, true) then
  own._streams = (row._streams and row._streams ~= '') and (row._streams .. ',' .. named.stream) or named.stream
  if not is_input(named.stream) then
    local shown = {}
    for stream in string.gmatch(own._streams, '[^,]+') do
      if not is_input(stream) then shown[#shown + 1] = stream end
    end
    set('realtimeStreams', '["' .. table.concat(shown, '","') .. '"]')
  end
end

-- 4. Metadata operations (Trigger.dev realtime protocol, section 5.2), on literal top-level keys. Those that
-- need a value taken apart come as `set` and `delete`, computed by the publisher from a version it names.

local metadata, metadata_names = {}, {}  -- key → JSON, or false when deleted; keys in order
local bytes = tonumber(row._bytes or 0)
if named.once ~= '' and #operations > 0 then
  local known, again = row._once or '', false
  for i = 1, #known, ONCE_LENGTH do again = again or string.sub(known, i, i + ONCE_LENGTH - 1) == named.once end
  if again then operations = {}
  else own._once = string.sub(named.once .. known, 1, KEPT_ONCE * ONCE_LENGTH) end
end
if #operations + #initial_metadata > 0 then
  if #operations > 0 and named.metadata_version ~= '' and named.metadata_version ~= (row._version or '0') then
    return answer('conflict')
  end
  local stored = {}
  local function current(key)
    if stored[key] == nil then stored[key] = redis.call('HGET', metadata_key, key) or false end
    if metadata[key] ~= nil then return metadata[key] or nil end
    return stored[key] or nil
  end
  local function put(key, json)
    local before = current(key)
    if before == json then return end
    if metadata[key] == nil then metadata_names[#metadata_names + 1] = key end
    if before then bytes = bytes - #key - #before - 4 end
    if json then bytes = bytes + #key + #json + 4 end
    metadata[key] = json or false
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
  local apply = {
    set = put,
    delete = function(key) if current(key) then put(key, nil) end end,
    append = function(key, json)
      local before = current(key)
      if not before then put(key, '[' .. json .. ']')
      elseif before == '[]' then put(key, '[' .. json .. ']')
      elseif string.sub(before, 1, 1) == '[' then put(key, string.sub(before, 1, -2) .. ',' .. json .. ']')
      else put(key, '[' .. before .. ',' .. json .. ']') end
    end,
    increment = function(key, json)
      local before = current(key)
      local base = before and string.match(before, '^%-?%d') and tonumber(before) or 0
      local sum = base + tonumber(json)
      if math.abs(sum) ~= math.huge then put(key, number_text(sum)) end  -- JSON knows no infinity
    end,
    clear = function()
      for _, key in ipairs(redis.call('HKEYS', metadata_key)) do if current(key) then put(key, nil) end end
      for _, key in ipairs(metadata_names) do if metadata[key] then put(key, nil) end end
    end,
  }
  for _, pair in ipairs(initial_metadata) do
    if not current(pair[1]) then put(pair[1], pair[2]) end
  end
  for _, operation in ipairs(operations) do apply[operation[1]](operation[2], operation[3]) end
  -- A key that was changed and changed back is no change.
  local kept = {}
  for _, key in ipairs(metadata_names) do
    if (metadata[key] or false) ~= stored[key] then kept[#kept + 1] = key end
  end
  metadata_names = kept
  local grows = bytes > tonumber(row._bytes or 0)  -- what was too large already may shrink
  if grows and bytes > tonumber(named.metadata_limit) then return answer('too_large', bytes) end
end

-- 5. Store. First what nobody is shown: until when the run may be silent, unstarted, or at work.

local is_final = RANK[own._status or row._status] == FINAL_RANK
local renews_lease = named.lease ~= '' and not is_final and (tonumber(named.attempt) or known_attempt) >= known_attempt
if renews_lease and tonumber(named.lease) > 0 then
  own._lease = integer(now_ms + tonumber(named.lease))
  own._lease_ms = named.lease
elseif (renews_lease or status_changes) and (row._lease or '') ~= '' then
  own._lease = ''  -- the word of who held it before says nothing of what is now
end

local was_final = not is_new and RANK[row._status] == FINAL_RANK
local kept = tonumber(is_final and named.kept_finished or named.kept_unfinished)

local function number_of(name) return tonumber(own[name] or row[name] or '') end
local function delay() return tonumber(changed.delayUntil or redis.call('HGET', row_key, 'delayUntil') or 0) or 0 end
local deadline = next_deadline(own._status or row._status, number_of, delay)
if deadline ~= (row._deadline or '') then
  own._deadline = deadline
  local moment = read_deadline(deadline)
  if moment then
    redis.call('ZADD', prefix .. 'deadlines', integer(moment), run)
    extend(prefix .. 'deadlines', key_lifetime(kept))
  else
    redis.call('ZREM', prefix .. 'deadlines', run)
  end
end

local function renew_lifetimes(feeds)
  local lifetime = key_lifetime(kept)
  redis.call('PEXPIRE', row_key, integer(lifetime))
  redis.call('PEXPIRE', metadata_key, integer(lifetime))
  local streams_lifetime = math.min(lifetime, key_lifetime(tonumber(named.kept_streams)))
  for _, key in ipairs(stream_keys(prefix, run, own._streams or row._streams)) do
    redis.call('PEXPIRE', key, integer(streams_lifetime))
  end
  redis.call('ZADD', prefix .. 'due', integer(now_ms + due_after(kept)), run)
  extend(prefix .. 'due', lifetime)
  extend(prefix .. 'deadlines', lifetime)
  extend(history_key, lifetime)
  for _, feed in ipairs(feeds) do
    extend(prefix .. 'feed:' .. feed, lifetime)
    extend(prefix .. 'created:' .. feed, lifetime)
  end
end
local renewal_due = renewal_is_due(kept, now_ms - tonumber(row._touched or 0))

if #changed_names == 0 and #metadata_names == 0 then
  if renewal_due and renews_lease then
    own._touched = integer(now_ms)
    renew_lifetimes(feeds_of(row._task, row._batch, row._tags))
  end
  local fields = {}
  for name, value in pairs(own) do fields[#fields + 1] = name; fields[#fields + 1] = value end
  if #fields > 0 then redis.call('HSET', row_key, unpack(fields)) end
  return answer(late or 'unchanged')
end

local sequence = redis.call('HINCRBY', history_key, 'sequence', 1)
local updated = math.max(now_ms, tonumber(row._updated or 0))
set('updatedAt', integer(updated))
own._updated = integer(updated)
own._sequence = integer(sequence)

local transition
if status_changes then
  transition = '[' .. integer(sequence) .. ',"' .. status .. '",' .. integer(happened_ms) .. ',' .. integer(attempt) .. ']'
  local list = row._transitions and (row._transitions .. ';' .. transition) or transition
  if select(2, string.gsub(list, ';', '')) >= MAX_TRANSITIONS then list = string.sub(list, string.find(list, ';') + 1) end
  own._transitions = list
  redis.call('HSET', row_key, 'transitions', '[' .. string.gsub(list, ';', ',') .. ']')
end

if changed.taskIdentifier then own._task = string.sub(changed.taskIdentifier, 2, -2) end
if changed.batchId and changed.batchId ~= 'null' then own._batch = string.sub(changed.batchId, 2, -2) end

local fields, gone = {}, {}
for _, name in ipairs(changed_names) do
  if changed[name] == 'null' then gone[#gone + 1] = name
  else fields[#fields + 1] = name; fields[#fields + 1] = changed[name] end
end
if #metadata_names > 0 then
  own._bytes = integer(bytes)
  own._version = integer(tonumber(row._version or 0) + 1)
  -- What comes before what goes: an empty hash is removed, and its lifetime with it.
  for _, key in ipairs(metadata_names) do
    if metadata[key] then redis.call('HSET', metadata_key, key, metadata[key]) end
  end
  for _, key in ipairs(metadata_names) do
    if not metadata[key] then redis.call('HDEL', metadata_key, key) end
  end
end

local enters = is_new or #added > 0 or changed.taskIdentifier ~= nil or changed.batchId ~= nil  -- some feed
local renew = enters or status_changes or renewal_due
  or (#metadata_names > 0 and (row._bytes or '0') == '0')  -- its key is new
if renew then own._touched = integer(now_ms) end
if is_new then own._number = integer(sequence) end
for name, value in pairs(own) do fields[#fields + 1] = name; fields[#fields + 1] = value; row[name] = value end
redis.call('HSET', row_key, unpack(fields))
if #gone > 0 then redis.call('HDEL', row_key, unpack(gone)) end

local feeds = feeds_of(row._task, row._batch, row._tags)
for _, feed in ipairs(feeds) do
  redis.call('ZADD', prefix .. 'feed:' .. feed, integer(sequence), run)
  if enters then redis.call('ZADD', prefix .. 'created:' .. feed, row._number, run) end
end

if renew then renew_lifetimes(feeds) end
if is_new then
  for _, feed in ipairs(feeds) do
    drop_dead(prefix, prefix .. 'feed:' .. feed)
    drop_dead(prefix, prefix .. 'created:' .. feed)
  end
  sweep(prefix, now, 2)  -- one comes, up to two go: what is kept stays bounded without anyone's help
end

-- 6. Tell. A viewer gets the columns that changed; the whole row when the run is new to some feed.
-- (codec.py, decode_event, has the meaning of each letter)

local body, left_out = {}, {}
local function show(name, json)
  if #json > tonumber(named.large) then left_out[#left_out + 1] = '"' .. name .. '":' .. #json
  else body[#body + 1] = '"' .. name .. '":' .. json end
end
local metadata_body, deleted_body = {}, {}
if enters then
  local stored = redis.call('HGETALL', row_key)
  for i = 1, #stored, 2 do
    if string.sub(stored[i], 1, 1) ~= '_' then show(stored[i], stored[i + 1]) end
  end
  stored = redis.call('HGETALL', metadata_key)
  for i = 1, #stored, 2 do metadata_body[#metadata_body + 1] = cjson.encode(stored[i]) .. ':' .. stored[i + 1] end
else
  for _, name in ipairs(changed_names) do show(name, changed[name]) end
  for _, key in ipairs(metadata_names) do
    if metadata[key] then metadata_body[#metadata_body + 1] = cjson.encode(key) .. ':' .. metadata[key]
    else deleted_body[#deleted_body + 1] = cjson.encode(key) end
  end
end

local event = {
  '{"s":', integer(sequence), ',"e":"', history.epoch, '","r":"', run, '","b":', row._created,
  ',"g":[', (row._tags and row._tags ~= '') and ('"' .. string.gsub(row._tags, ',', '","') .. '"') or '', ']',
  ',"c":{', table.concat(body, ','), '}',
}
local function part(letter, open, list, close)
  if #list > 0 then event[#event + 1] = ',"' .. letter .. '":' .. open .. table.concat(list, ',') .. close end
end
if enters then event[#event + 1] = ',"w":true' end
part('m', '{', metadata_body, '}')
part('d', '[', deleted_body, ']')
part('l', '{', left_out, '}')
if transition then event[#event + 1] = ',"t":' .. transition end
if #added > 0 then event[#event + 1] = ',"n":["' .. table.concat(added, '","') .. '"]' end
event[#event + 1] = '}'
local message = table.concat(event)

redis.call(named.publish, prefix .. 'changes:run:' .. run, message)
for _, feed in ipairs(feeds) do redis.call(named.publish, prefix .. 'changes:' .. feed, message) end
-- Streams end with their run, also those that nobody has written to yet; and go on with another attempt. A job that
-- waits for what is sent into it hears there, too, that it was asked to stop.
if (transition and (is_final or was_final)) or changed.cancelRequestedAt then
  redis.call(named.publish, prefix .. 'changes:streams:' .. run, message)
end

return answer(late == 'stale' and 'stale' or 'applied', sequence)
