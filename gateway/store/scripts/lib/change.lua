-- Any change, in full: is it late, what does it change, store that, tell. `work` is what is known of the change on its way:
-- `row` what was stored of the run, `columns` and `names` the columns that change as JSON and their order, `own` the script's
-- fields beside them.

local MAX_TAGS, MAX_TRANSITIONS = 10, 100
-- The row's own fields start with an underscore: raw text that the scripts need and no viewer sees. The
-- transitions are for both.
local OWN = {'_status', '_attempt', '_tags', '_task', '_batch', '_created', '_started', '_updated', '_touched', '_kept',
             '_version', '_bytes', 'transitions', '_once', '_number', '_lease', '_ttl', '_max_duration',
             '_began', '_waits', '_deadline', '_presumed', '_streams'}
local OF_AN_END = {'completedAt', 'expiredAt', 'output', 'outputType', 'error', 'usageDurationMs'}
local ASKS_FOR_END = {cancelRequestedAt = true, cancelReason = true}
local NONE = {}

local function set(work, name, json)
  if work.columns[name] == nil then work.names[#work.names + 1] = name end
  work.columns[name] = json
end

-- 1. Is the change late? What it says of the status is then dropped, and of an earlier attempt everything; what it
-- knows of the run's origin (task, payload, tags) still fills gaps, for a worker may have been faster than whoever
-- created the run. Operations are taken as if they had come alone: whether a publisher sent them a moment sooner, or
-- together with the status, makes no difference.
-- Returns false when a deadline was said to have passed and has not.

local function judge(work)
  local change, row = work.change, work.row
  local attempt, known_attempt = tonumber(change.attempt) or tonumber(row._attempt or 1), tonumber(row._attempt or 0)
  local status = change.status or work.is_new and 'PENDING' or ''
  work.known_attempt = known_attempt
  work.happened_ms = now_ms - (tonumber(change.age) or 0)  -- later than it happened, when Redis was away
  if change.overdue then
    local moment, kind = read_deadline(row._deadline)
    if not moment or kind ~= status or moment > now_ms then return false end
    work.happened_ms = moment
  end
  work.happened = work.happened_ms == now_ms and now_text or integer(work.happened_ms)

  -- A lease that is renewed after all says that the run goes on.
  local presumed_at, presumed = read_deadline(row._presumed)
  local lives = (tonumber(change.lease) or 0) > 0
  if presumed == 'CRASHED' and status == '' and lives and attempt == known_attempt then status = 'EXECUTING' end
  work.overruled = attempt == known_attempt and status ~= row._status
    and gives_way(presumed, presumed_at, status, work.happened_ms, lives)

  if attempt < known_attempt then
    work.late, work.operations = 'stale', NONE
  elseif status ~= '' and row._status and attempt == known_attempt and not work.overruled then
    if RANK[status] < RANK[row._status] then work.late = 'stale'
    elseif RANK[row._status] == FINAL_RANK then work.late = status == row._status and 'unchanged' or 'stale' end
  end
  if work.late then attempt, status = known_attempt, '' end
  work.attempt, work.status = attempt, status
  work.status_changes = status ~= '' and (work.is_new or attempt > known_attempt or status ~= row._status)
  return true
end

-- 2. Which columns change?

-- To ask for a run's end makes sense once, and while it goes on.
local function without_late_wish(work, columns)
  local asks, others = false, {}
  for i = 1, #columns, 2 do
    if ASKS_FOR_END[columns[i]] then asks = true
    else others[#others + 1], others[#others + 2] = columns[i], columns[i + 1] end
  end
  if not asks then return columns end
  if RANK[work.row._status] == FINAL_RANK then return others end
  return redis.call('HEXISTS', work.row_key, 'cancelRequestedAt') == 1 and others or columns
end

local function compare(work, list, fills_gaps)
  if #list == 0 then return end
  local names = {}
  for i = 1, #list, 2 do names[#names + 1] = list[i] end
  local stored = work.is_new and NONE or redis.call('HMGET', work.row_key, unpack(names))
  for i, name in ipairs(names) do
    local json = list[2 * i]
    if fills_gaps then
      if not stored[i] and json ~= 'null' then set(work, name, json) end
    elseif (stored[i] or 'null') ~= json then
      set(work, name, json)
    end
  end
end

local function forget(work, name)  -- of an earlier attempt
  if redis.call('HEXISTS', work.row_key, name) == 1 and not work.columns[name] then set(work, name, 'null') end
end

local function begin_run(work)
  local own, happened = work.own, work.happened
  set(work, 'createdAt', happened)
  set(work, 'attempt', integer(work.attempt))
  own._created, own._inserted, own._attempt = happened, now_text, integer(work.attempt)
end

local function change_status(work)
  local row, own, status, attempt, happened = work.row, work.own, work.status, work.attempt, work.happened
  local anew = not work.is_new and attempt > work.known_attempt
  set(work, 'status', '"' .. status .. '"')
  own._status = status
  own._presumed = work.change.overdue and row._deadline or ''
  if anew then
    set(work, 'attempt', integer(attempt))
    own._attempt = integer(attempt)
  end
  if anew or (work.overruled and not work.is_new) then
    for _, name in ipairs(OF_AN_END) do forget(work, name) end
  end
  -- Who asked for its end has it, unless its worker was lost or will try again.
  if anew and RANK[row._status] == FINAL_RANK and row._status ~= 'CRASHED' then
    forget(work, 'cancelRequestedAt')
    forget(work, 'cancelReason')
  end
  if status == 'PENDING' then set(work, 'queuedAt', happened) end
  if status == 'EXECUTING' and not row._started then
    set(work, 'startedAt', happened)
    own._started = happened
  end
  -- How long it may take counts for each attempt, without the time that it waits.
  local waits = tonumber(row._waits or '')
  if WAITS[status] then
    own._waits = waits and row._waits or happened
  else
    if waits then own._waits = '' end
    if status == 'EXECUTING' then
      local began = attempt == work.known_attempt and tonumber(row._began or '')
      own._began = began and integer(began + (waits and math.max(0, work.happened_ms - waits) or 0)) or happened
    end
  end
  if RANK[status] == FINAL_RANK then
    set(work, 'completedAt', happened)
    if status == 'EXPIRED' then set(work, 'expiredAt', happened) end
    if row._started and not work.columns.usageDurationMs then
      set(work, 'usageDurationMs', integer(math.max(0, work.happened_ms - tonumber(row._started))))
    end
  end
end

-- Tags that the run does not carry yet. Returns false when they are too many.
local function add_tags(work, tags)
  local known = work.row._tags or ''
  local carried, count = ',' .. known .. ',', select(2, string.gsub(known, '[^,]+', ''))
  for _, tag in ipairs(tags) do
    if not string.find(carried, ',' .. tag .. ',', 1, true) then
      work.added[#work.added + 1] = tag
      carried = carried .. tag .. ','
      count = count + 1
    end
  end
  if count > MAX_TAGS then return false end
  if #work.added > 0 then
    work.own._tags = known == '' and string.sub(carried, 3, -2) or string.sub(carried, 2, -2)
    set(work, 'runTags', '[' .. quoted(work.own._tags) .. ']')
  end
  return true
end

local function add_stream(work, stream)
  local known = work.row._streams or ''
  if string.find(',' .. known .. ',', ',' .. stream .. ',', 1, true) then return end
  work.own._streams = known ~= '' and (known .. ',' .. stream) or stream
  if is_input(stream) then return end
  local shown = {}
  for name in string.gmatch(work.own._streams, '[^,]+') do
    if not is_input(name) then shown[#shown + 1] = name end
  end
  set(work, 'realtimeStreams', '["' .. table.concat(shown, '","') .. '"]')
end

-- Returns what refuses it, if something does, and the size that the metadata would have.
local function change_metadata(work, initial)
  local change, row, own, operations = work.change, work.row, work.own, work.operations
  if change.once and #operations > 0 then
    if is_known(row._once or '', change.once) then operations = NONE
    else own._once = with_once(row._once or '', change.once) end
  end
  if #operations > 0 and change.version and change.version ~= (row._version or '0') then return 'conflict' end
  local document = work.metadata
  for i = 1, #initial, 2 do
    if not current(document, initial[i]) then document.values[initial[i]] = initial[i + 1] end
  end
  for i = 1, #operations, 3 do operate(document, operations[i], operations[i + 1], operations[i + 2]) end
  local names, growth = differences(document)
  local size = (row._bytes or 0) + growth
  if growth > 0 and size > most_metadata then return 'too_large', integer(size) end
  work.metadata_names = names
  if #names > 0 then own._bytes, own._version = integer(size), integer((row._version or 0) + 1) end
end

-- 3. Until when the run may be silent, unstarted, or at work, and how long it is kept. Nobody is shown that.

local function change_lease(work)
  local change, own = work.change, work.own
  local lease = tonumber(change.lease or '')
  work.renews_lease = lease and not work.is_final
    and (tonumber(change.attempt) or work.known_attempt) >= work.known_attempt
  if work.renews_lease and lease > 0 then
    own._lease, own._lease_ms = integer(now_ms + lease), change.lease
  elseif (work.renews_lease or work.status_changes) and (work.row._lease or '') ~= '' then
    own._lease = ''  -- the word of who held it before says nothing of what is now
  end
end

local function move_deadline(work)
  local row, own, columns = work.row, work.own, work.columns
  local function number_of(name) return tonumber(own[name] or row[name] or '') end
  local function delay() return tonumber(columns.delayUntil or redis.call('HGET', work.row_key, 'delayUntil') or 0) or 0 end
  local deadline = next_deadline(own._status or row._status, number_of, delay)
  if deadline == (row._deadline or '') then return end
  own._deadline = deadline
  local moment = read_deadline(deadline)
  if moment then
    redis.call('ZADD', prefix .. 'deadlines', integer(moment), work.run)
    let_live({}, key_lifetime(work.kept))
  else
    redis.call('ZREM', prefix .. 'deadlines', work.run)
  end
end

local function renew_lifetimes(work, home, enters)
  local kept, row, lifetime = work.kept, work.row, key_lifetime(work.kept)
  redis.call('PEXPIRE', work.row_key, lifetime)
  if (work.own._bytes or row._bytes or '0') ~= '0' then redis.call('PEXPIRE', work.metadata.key, lifetime) end
  local streams_lifetime = math.min(lifetime, key_lifetime(kept_streams))
  for _, key in ipairs(stream_keys(prefix, work.run, work.own._streams or row._streams)) do
    redis.call('PEXPIRE', key, streams_lifetime)
  end
  put_due(work.run, now_ms + due_after(kept))
  -- What it shares with other runs lives long enough when it was renewed for longer before: as a rule when a run ends.
  if enters or not row._kept or row._touched + key_lifetime(row._kept) < now_ms + lifetime then
    let_live(home, lifetime)
  end
end

-- 4. Store.

local function note_renewal(work) work.own._touched, work.own._kept = now_text, integer(work.kept) end

local function add_transition(work, sequence)
  local known = work.row.transitions
  local transition = '[' .. sequence .. ',"' .. work.status .. '",' .. work.happened .. ','
    .. integer(work.attempt) .. ']'
  local list = known and string.sub(known, 2, -2) .. ',' .. transition or transition
  if select(2, string.gsub(list, '%],', '')) >= MAX_TRANSITIONS then
    list = string.sub(list, string.find(list, '],', 1, true) + 2)
  end
  work.own.transitions = '[' .. list .. ']'
  return transition
end

local function store_row(work)
  local columns, fields, gone = work.columns, {}, {}
  for _, name in ipairs(work.names) do
    if columns[name] == 'null' then gone[#gone + 1] = name
    else fields[#fields + 1] = name; fields[#fields + 1] = columns[name] end
  end
  for name, value in pairs(work.own) do fields[#fields + 1] = name; fields[#fields + 1] = value end
  if #fields > 0 then redis.call('HSET', work.row_key, unpack(fields)) end
  if #gone > 0 then redis.call('HDEL', work.row_key, unpack(gone)) end
end

-- 5. Tell. A viewer gets the columns that changed; the whole row when the run is new to some feed.

local function columns_text(names, columns)
  local shown, left_out = {}, {}
  for _, name in ipairs(names) do
    local json = columns[name]
    if #json > largest_column then left_out[#left_out + 1] = '"' .. name .. '":' .. #json
    else shown[#shown + 1] = '"' .. name .. '":' .. json end
  end
  return table.concat(shown, ',') .. '}', #left_out > 0 and ',"l":{' .. table.concat(left_out, ',') .. '}' or ''
end

local function whole_row(work)
  local stored, names, columns = redis.call('HGETALL', work.row_key), {}, {}
  for i = 1, #stored, 2 do
    local name = stored[i]
    if string.byte(name) ~= 95 then names[#names + 1], columns[name] = name, stored[i + 1] end  -- 95 is _
  end
  return names, columns
end

local function whole_metadata(key)
  local stored, pairs_of = redis.call('HGETALL', key), {}
  for i = 1, #stored, 2 do pairs_of[#pairs_of + 1] = cjson.encode(stored[i]) .. ':' .. stored[i + 1] end
  return #pairs_of > 0 and ',"m":{' .. table.concat(pairs_of, ',') .. '}' or ''
end

local function message_of(work, home, sequence, enters, transition)
  local names, columns, row, metadata = work.names, work.columns, work.row, nil
  if enters then
    if work.is_new then set(work, 'transitions', work.own.transitions)  -- and that is all there is
    else names, columns = whole_row(work) end
    metadata = ',"w":true' .. whole_metadata(work.metadata.key)
  else
    metadata = metadata_parts(work.metadata, work.metadata_names)
  end
  local shown, left_out = columns_text(names, columns)
  return event_start(sequence, work.run, row._created, home) .. shown .. metadata .. left_out
    .. (transition and ',"t":' .. transition or '')
    .. (#work.added > 0 and ',"n":["' .. table.concat(work.added, '","') .. '"]' or '') .. '}'
end

-- What is known of the run, and what the change says of it that is news. Returns the answer instead when that is refused.
local function weigh(change)
  local run, row = change.run, {}
  local row_key = prefix .. 'run:' .. run
  for i, value in ipairs(redis.call('HMGET', row_key, unpack(OWN))) do row[OWN[i]] = value or nil end
  local is_new, creates = row._created == nil, change.create ~= nil
  local function refuse(outcome, size) return nil, answer(outcome, row._status, row._attempt, size) end
  if is_new and not creates then return refuse('missing') end

  local own, columns = {}, {}
  local work = {change = change, run = run, row = row, row_key = row_key, is_new = is_new, operations = change.operations,
                own = own, columns = columns, names = {}, added = {}, metadata = open_metadata(prefix .. 'metadata:' .. run)}
  if not judge(work) then return refuse('unchanged') end
  if creates and change.initial then compare(work, change.initial, true) end
  if not work.late and change.column then compare(work, without_late_wish(work, change.column), false) end
  if is_new then begin_run(work) end
  if columns.ttl then own._ttl = change.ttl or '' end
  if columns.maxDuration then own._max_duration = change.max_duration or '' end
  if work.status_changes then change_status(work) end
  if change.tag and not add_tags(work, change.tag) then return refuse('too_many_tags') end
  if change.stream then add_stream(work, change.stream) end
  local refused, size = change_metadata(work, creates and change.initial_metadata or NONE)
  if refused then return refuse(refused, size) end
  local is_final = RANK[own._status or row._status] == FINAL_RANK
  work.was_final, work.is_final = not is_new and RANK[row._status] == FINAL_RANK, is_final
  work.kept = is_final and kept_finished or kept_unfinished
  return work
end

local function apply_in_full(change)
  local work, refusal = weigh(change)
  if not work then return refusal end
  local run, row, own, columns = work.run, work.row, work.own, work.columns
  change_lease(work)
  move_deadline(work)
  local renewal_due = renewal_is_due(work.kept, now_ms - (row._touched or 0))
  if #work.names == 0 and #work.metadata_names == 0 then
    if renewal_due and work.renews_lease then
      note_renewal(work)
      renew_lifetimes(work, home_of(row._task, row._batch, row._tags), false)
    end
    store_row(work)
    return answer(work.late or 'unchanged', row._status, row._attempt)
  end

  local sequence = take_number()
  local updated = now_ms > tonumber(row._updated or 0) and now_text or row._updated
  set(work, 'updatedAt', updated)
  own._updated, own._sequence = updated, sequence
  local transition = work.status_changes and add_transition(work, sequence)
  if work.is_new then own._number = sequence end
  if columns.taskIdentifier then own._task = string.sub(columns.taskIdentifier, 2, -2) end
  if columns.batchId and columns.batchId ~= 'null' then own._batch = string.sub(columns.batchId, 2, -2) end
  local home = home_of(own._task or row._task, own._batch or row._batch, own._tags or row._tags)
  local enters = work.is_new or #work.added > 0 or columns.taskIdentifier ~= nil or columns.batchId ~= nil  -- some feed

  local renews = enters or renewal_due or (work.status_changes and row._kept ~= integer(work.kept))
  if renews then note_renewal(work) end

  local first_metadata = #work.metadata_names > 0 and (row._bytes or '0') == '0'
  store_metadata(work.metadata, work.metadata_names, work.row_key, first_metadata and not renews)
  store_row(work)
  move(run, home, sequence)
  if enters then enter(run, home, own._number or row._number, work.is_new) end
  if renews then renew_lifetimes(work, home, enters) end

  for name, value in pairs(own) do row[name] = value end
  local message = message_of(work, home, sequence, enters, transition)
  tell(run, home, message)
  -- Streams end with their run, also those that nobody has written to yet; and go on with another attempt. A job that
  -- waits for what is sent into it hears there, too, that it was asked to stop.
  if (transition and (work.is_final or work.was_final)) or columns.cancelRequestedAt then
    redis.call(publish, prefix .. 'changes:streams:' .. run, message)
  end
  return answer(work.late == 'stale' and 'stale' or 'applied', row._status, row._attempt, sequence)
end
