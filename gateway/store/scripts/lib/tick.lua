-- A tick: a run that is known says something by its metadata, and nothing else. Most changes are ticks, so this is the
-- straight way for them; it gives what apply_in_full (lib/change.lua) would give, and leaves to that what is not so straight: a
-- run that does not exist, another attempt, a lifetime to renew. A tick moves no deadline and enters no feed.

local function tick(change)
  local run = change.run
  local row_key = prefix .. 'run:' .. run
  local row = redis.call('HMGET', row_key, '_created', '_status', '_attempt', '_tags', '_task', '_batch', '_updated', '_touched',
                         '_version', '_bytes')
  local created, status, attempt, tags, version, bytes = row[1], row[2], row[3], row[4], row[9] or '0', row[10] or '0'
  local kept = RANK[status] == FINAL_RANK and kept_finished or kept_unfinished
  if not created or (change.attempt and change.attempt ~= attempt)
      or renewal_is_due(kept, now_ms - tonumber(row[8])) then
    return nil
  end

  local known = change.once and (redis.call('HGET', row_key, '_once') or '')
  if known and is_known(known, change.once) then return answer('unchanged', status, attempt) end
  if change.version and change.version ~= version then return answer('conflict', status, attempt) end
  local document, operations = open_metadata(prefix .. 'metadata:' .. run), change.operations
  for i = 1, #operations, 3 do operate(document, operations[i], operations[i + 1], operations[i + 2]) end
  local names, growth = differences(document)
  local size = bytes + growth
  if growth > 0 and size > most_metadata then return answer('too_large', status, attempt, integer(size)) end
  if known then redis.call('HSET', row_key, '_once', with_once(known, change.once)) end
  if #names == 0 then return answer('unchanged', status, attempt) end

  local sequence = take_number()
  local updated = now_ms > tonumber(row[7]) and now_text or row[7]
  store_metadata(document, names, row_key, bytes == '0')
  redis.call('HSET', row_key, 'updatedAt', updated, '_updated', updated, '_sequence', sequence, '_version', version + 1,
             '_bytes', size)
  local home = home_of(row[5], row[6], tags)
  move(run, home, sequence)
  tell(run, home, event_start(sequence, run, created, home) .. '"updatedAt":' .. updated .. '}'
    .. metadata_parts(document, names) .. '}')
  return answer('applied', status, attempt, sequence)
end
