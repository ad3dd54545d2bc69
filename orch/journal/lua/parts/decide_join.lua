-- decide_join.lua: whether the ends of its branches decide about a step; as
-- `StepState.decided`. `state` gets the places that were left out at its end. Where it has ballots,
-- so many branches must have cast the same one as must succeed else.
local function decide_join(state)
    local left, failed = state[9], state[13] or 0
    local need, tolerated = state[11] or 0, state[12] or 0
    local succeeded = state[8] - left - failed
    local agreeing = state[18] and 0 or succeeded
    for _, count in pairs(state[18] or {}) do
        agreeing = math.max(agreeing, count)
    end
    state[10], state[11], state[12], state[13] = state[10] or 0, need, tolerated, failed
    return left == 0
        or (tolerated >= 0 and failed > tolerated)
        or (need > 0 and (agreeing >= need or agreeing + left < need))
end
