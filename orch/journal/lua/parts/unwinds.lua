-- unwinds.lua: the statuses of an execution in which nothing starts but its compensations.
local unwinds_in = {cancelling = 1, compensating = 1}
local lives_in = {running = 1, paused = 1, cancelling = 1, compensating = 1}
local function may_undo(status, path)
    return unwinds_in[status] and string.sub(path, 1, 14) == 'compensations/'
end
