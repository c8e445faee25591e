-- How long things are kept. Every key has a lifetime of its own, so that nothing stays when nobody calls; and
-- the runs of an environment stand in one sorted set by the time they are due, so that whoever does call
-- removes them, with their places in the indexes, when their time has come.

-- A key lives an eighth longer than the run is promised to be kept: the sweep comes first. Lifetimes are
-- renewed only when a sixteenth has passed, so that most changes don't pay for it.
local function key_lifetime(kept) return math.floor(kept * 9 / 8) + 1000 end
local function due_after(kept) return math.floor(kept * 17 / 16) end
local function renewal_is_due(kept, age) return age >= kept / 16 end

-- Lets a key that many runs share live at least so long, and a sixteenth longer when it has to be told, so that it is not
-- told again for each of them. (PEXPIRE … GT needs Redis 7.)
local function extend(key, lifetime)
  if redis.call('PTTL', key) < lifetime then redis.call('PEXPIRE', key, math.floor(lifetime * 17 / 16)) end
end

-- The feeds that hold a run, besides its own. Each has two sorted sets of run ids: `feed:…` by the number of the last
-- change, and `created:…` by the number of the first one; and a channel, `changes:…`.
local function feeds_of(task, batch, tags)
  local feeds = {'all'}
  if task and task ~= '' then feeds[#feeds + 1] = 'task:' .. task end
  if batch and batch ~= '' then feeds[#feeds + 1] = 'batch:' .. batch end
  for tag in string.gmatch(tags or '', '[^,]+') do feeds[#feeds + 1] = 'tag:' .. tag end
  return feeds
end

-- The logs of a run's streams, and what is known of each.
local function stream_keys(prefix, run, streams)
  local keys = {}
  for stream in string.gmatch(streams or '', '[^,]+') do
    keys[#keys + 1] = prefix .. 'stream:' .. run .. ',' .. stream
    keys[#keys + 1] = prefix .. 'stream-state:' .. run .. ',' .. stream
  end
  return keys
end

-- Removes up to so many runs whose time has come. Returns how many.
local function sweep(prefix, now, count)
  local due = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', integer(now / 1000), 'LIMIT', 0, count)
  for _, run in ipairs(due) do
    local key = prefix .. 'run:' .. run
    local row = redis.call('HMGET', key, '_task', '_batch', '_tags', '_streams')
    for _, feed in ipairs(feeds_of(row[1], row[2], row[3])) do
      redis.call('ZREM', prefix .. 'feed:' .. feed, run)
      redis.call('ZREM', prefix .. 'created:' .. feed, run)
    end
    redis.call('DEL', key, prefix .. 'metadata:' .. run, unpack(stream_keys(prefix, run, row[4] or '')))
    redis.call('ZREM', prefix .. 'due', run)
    redis.call('ZREM', prefix .. 'deadlines', run)
  end
  return #due
end
