-- Proves to a gateway that its subscription hears, tells it the newest number, and removes what is due.
-- include lib/history.lua
-- include lib/retention.lua
--
-- KEYS  1 history of the environment
-- ARGV  prefix, lifetime of the history (ms), publish command, channel of the asking gateway, text to send back, most runs to sweep
-- Publishes "<text> <epoch> <sequence>" on the channel: whoever hears it has heard every change up to that number.
-- Returns {epoch, sequence, swept, the server's time (microseconds since 1970)}

local now = now_microseconds()
local history = read_history(KEYS[1], now, tonumber(ARGV[2]))
extend(KEYS[1], tonumber(ARGV[2]) / 2)
if ARGV[4] ~= '' then
  redis.call(ARGV[3], ARGV[4], ARGV[5] .. ' ' .. history.epoch .. ' ' .. integer(history.sequence))
end
return {history.epoch, integer(history.sequence), sweep(ARGV[1], now, tonumber(ARGV[6])), integer(now)}
