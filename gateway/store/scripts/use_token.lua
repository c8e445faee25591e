-- Uses a one-time token up: of all who come with it, one goes on.
--
-- KEYS  1 the mark of the token
-- ARGV  name of this use, time until the token ends (ms)
-- Returns 1 when this use is the one, also when the answer was lost and it is asked again; 0 when another was.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0
