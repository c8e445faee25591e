-- Applies changes to runs, each all or nothing, in the order in which they are given, and tells everyone who follows them.
-- include lib/history.lua
-- include lib/retention.lua
-- include lib/statuses.lua
-- include lib/errors.lua
--
-- KEYS  1 history of the environment
-- ARGV  prefix, publish command, how long a run is kept that has finished, one that has not, and a stream (ms), largest
--       column that is published, most bytes of metadata; then the changes, each: run, how many arguments follow for it,
--       and its words:
--         create 1 · attempt N · status S · age MS · lease MS · ttl MS · max_duration MS · overdue 1 · stream KEY · tag T
--         column NAME JSON · initial NAME JSON (a column that fills a gap) · initial_metadata KEY JSON
--         once NAME · version N · and operations on metadata: set, delete, append, increment or clear KEY JSON
-- Returns for each change {outcome, epoch, sequence, status, attempt}, outcome one of
--   applied     stored and published under this number
--   unchanged   it was so already; nothing was published
--   stale       a later status or attempt is known. What came with it and does not belong to it (tags, where the run
--               comes from, operations of the present attempt) is stored and published under this number if it is news
--   missing     there is no such run, and the change may not create it
--   conflict    the metadata is not of the version that the operations were computed from
--   too_large   the metadata would be over its limit; `sequence` is the size it would have
--   too_many_tags
-- or, when there are several and something is wrong with one (its key holds something else, say), the error in its place.
--
-- A lease (`lease`, ms from now; 0 gives it up) is the worker's word that it lives; by itself it changes nothing that anyone is
-- shown. `overdue` marks a status that nobody said: a deadline has passed (overdue.lua), which is looked at once more here.
--
-- What a user wrote (column values, metadata) is JSON text here and never decoded: Lua's cjson would turn []
-- into {} and round large integers. Names of runs, tasks, batches and tags can stand in JSON as they are.
--
-- Redis runs this whole text at each call: every function, table and call of Redis that a call can do without makes every
-- change cheaper. So several changes come in one call, and the commonest, a tick, has a straight way of its own (lib/tick.lua).

local prefix, publish = ARGV[1], ARGV[2]
local kept_finished, kept_unfinished, kept_streams = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local largest_column, most_metadata = tonumber(ARGV[6]), tonumber(ARGV[7])
local FIRST_CHANGE = 8

local now = now_microseconds()
local now_ms = math.floor(now / 1000)
local now_text = integer(now_ms)
local history_key = KEYS[1]
local history = read_history(history_key, now, key_lifetime(math.max(kept_finished, kept_unfinished)))

local function answer(outcome, status, attempt, number)
  return {outcome, history.epoch, number or integer(history.sequence), status or '', attempt or '0'}
end

-- The changes of this call, the one that is being applied, and what became of each. What is wrong with the only one is the error
-- of the whole call, as everywhere in Redis.
local changes, this_change, answers = {}, 0, {}
local alone = false

-- Numbers are taken for all the changes that may still need one; those that are left in the end are given back.
local reserved = 0
local function take_number()
  if reserved == 0 then
    reserved = #changes - this_change + 1
    redis.call('HINCRBY', history_key, 'sequence', reserved)
  end
  reserved = reserved - 1
  history.sequence = history.sequence + 1
  return integer(history.sequence)
end
local function give_numbers_back()
  if reserved > 0 then redis.call('HINCRBY', history_key, 'sequence', -reserved) end
end
-- include lib/metadata.lua
-- include lib/gathering.lua
-- include lib/telling.lua
-- include lib/tick.lua

-- What only other changes need is made when the first one comes.
local function in_full()
-- include lib/deadlines.lua
-- include lib/inputs.lua
-- include lib/change.lua
  return apply_in_full
end
local apply_any

-- One change as a table: each word's value under its name, lists one after the other under theirs. `ticks` when it says
-- nothing but operations on the metadata of a run.
local OPERATION = {set = true, delete = true, append = true, increment = true, clear = true}
local LIST = {column = 2, initial = 2, initial_metadata = 2, tag = 1}
local function read_change(run, at, last)
  local operations = {}
  local change = {run = run, operations = operations, ticks = true}
  while at < last do
    local word, value = ARGV[at], ARGV[at + 1]
    if OPERATION[word] then
      local size = #operations
      operations[size + 1], operations[size + 2], operations[size + 3] = word, value, ARGV[at + 2]
      at = at + 3
    elseif LIST[word] then
      local list = change[word] or {}
      change[word] = list
      list[#list + 1] = value
      if LIST[word] == 2 then list[#list + 1] = ARGV[at + 2] end
      at = at + 1 + LIST[word]
      change.ticks = false
    else
      change[word] = value
      if word ~= 'attempt' and word ~= 'once' and word ~= 'version' then change.ticks = false end
      at = at + 2
    end
  end
  return change
end

local function apply(change)
  local answered = change.ticks and #change.operations > 0 and tick(change)
  if answered then return answered end
  apply_any = apply_any or in_full()
  return apply_any(change)
end

local at = FIRST_CHANGE
while at < #ARGV do
  local first, last = at + 2, at + 1 + tonumber(ARGV[at + 1])
  changes[#changes + 1] = read_change(ARGV[at], first, last)
  at = last + 1
end

if #changes == 1 then
  this_change, alone = 1, true
  answers[1] = apply(changes[1])
else
  for i, change in ipairs(changes) do
    this_change = i
    local done, result = pcall(apply, change)
    answers[i] = done and result or error_of(result)
  end
end
bring()
return answers
