-- When a run would be overdue, what it would be then, and what becomes of that when its worker is heard of after all.

-- A deadline is "<ms>:<status>", and so is what was presumed when it passed.
local function read_deadline(text)
  if not text or text == '' then return nil end
  local moment, kind = string.match(text, '^(%d+):(.+)$')
  return tonumber(moment), kind
end

-- What was only presumed gives way to the worker's word of the same attempt: that it did start, that it lives, that it had
-- ended. (Out of time is out of time, unless the word was only late in coming.) `lives`: the word comes with a lease.
local function gives_way(presumed, presumed_at, status, happened_ms, lives)
  if not presumed or status == '' then return false end
  local is_end = RANK[status] == FINAL_RANK
  if presumed == 'EXPIRED' then  -- to be cancelled, it need not have begun
    return RANK[status] >= STARTED_RANK and (status ~= 'CANCELED' or happened_ms < presumed_at)
  end
  if presumed == 'CRASHED' then  -- without a lease it may be another one who begins: that is another attempt
    return is_end or (RANK[status] >= STARTED_RANK and happened_ms >= presumed_at and (lives or status ~= 'EXECUTING'))
  end
  return is_end and happened_ms < presumed_at
end

-- The next deadline of a run with this status, '' when there is none. `known` gives its own fields as numbers, `delay` the moment
-- (ms) before which it shall not begin.
local function next_deadline(status, known, delay)
  local rank, moment, kind = RANK[status], nil, nil
  if rank == FINAL_RANK then return '' end
  local function at(candidate, of)
    if not moment or candidate < moment then moment, kind = candidate, of end
  end
  if known('_ttl') and rank < STARTED_RANK then
    -- It counts from the moment at which the run may begin.
    at(math.max(known('_created'), delay()) + known('_ttl'), 'EXPIRED')
  end
  -- Nobody works on a run that waits, or waits to be tried again.
  if known('_max_duration') and known('_began') and status == 'EXECUTING' then
    at(known('_began') + known('_max_duration'), 'TIMED_OUT')
  end
  if known('_lease') and (status == 'EXECUTING' or status == 'DEQUEUED') then
    at(known('_lease'), 'CRASHED')
  end
  return moment and (integer(moment) .. ':' .. kind) or ''
end
