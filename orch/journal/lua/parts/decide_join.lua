-- decide_join.lua: whether the ends of its branches decide about a step; as
-- `StepState.decided`. `state` gets the places that were left out at its end.
local function decide_join(state)
    local left, failed = state[9], state[13] or 0
    local need, tolerated = state[11] or 0, state[12] or 0
    local succeeded = state[8] - left - failed
    state[10], state[11], state[12], state[13] = state[10] or 0, need, tolerated, failed
    return left == 0
        or (tolerated >= 0 and failed > tolerated)
        or (need > 0 and (succeeded >= need or succeeded + left < need))
end
