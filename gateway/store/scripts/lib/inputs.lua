-- Whether a stream of a run holds what is sent into it (inputs.py): kept with it like the others, and not for viewers.
local function is_input(stream) return string.sub(stream, 1, 15) == '$trigger.input:' end
