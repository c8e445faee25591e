-- What pcall caught, as the reply to one of several. Up to Redis 6 an error is a text.
local function error_of(caught) return redis.error_reply(type(caught) == 'table' and caught.err or tostring(caught)) end
