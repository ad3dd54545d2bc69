"""How much is started by the hour of the week, and what that says of the hour to come."""

from __future__ import annotations

from orch.monitoring.watching.forecasts import Forecasts
from orch.monitoring.watching.notes import State

KIND = "arrivals"
HOUR = 3_600_000
WEEK = 168

WEEKS = 2
"""Weeks that it takes to know what is usual, and the most that count is four times as many."""

MANY = 60
"""Executions in an hour that are worth a word."""

TIMES = 2.0
"""How many times what there was in the hour before."""

PROMPT = 300_000
"""Ms after its beginning by which an hour must be watched to be counted whole."""


def watch_arrivals(state: State, at: int, total: int, forecasts: Forecasts) -> None:
    """``state``: `hour` since the epoch; `n` started in it; `whole`; `total` when counted last;
    `h`: hour of the week -> [mean, weeks]; `told`: the forecast for this hour. ``total``: what
    was ever started."""
    hour, passed = divmod(at, HOUR)
    came = max(total - int(state.get("total", total)), 0)
    state["total"] = total
    if state.get("hour") == hour:
        state["n"] += came
        return
    if "hour" in state:
        _end(state, hour, forecasts)
    follows = state.get("hour") == hour - 1
    before, state["n"], state["hour"] = state.get("n", 0), came, hour
    state["whole"] = passed <= PROMPT and follows
    if state["whole"]:
        _look_ahead(state, hour, before, forecasts)


def _end(state: State, hour: int, forecasts: Forecasts) -> None:
    """Another hour is over."""
    told, came = state.pop("told", None), state["n"]
    if told is not None and state["hour"] == hour - 1:
        forecasts.check(KIND, "arrivals", told, came, 0.5 * told[3], "executions")
    if not state["whole"]:
        return
    known = state.setdefault("h", {})
    mean, weeks = known.get(slot(state["hour"]), (0.0, 0))
    weeks = min(weeks + 1, 4 * WEEKS)
    known[slot(state["hour"])] = [round(mean + (came - mean) / weeks, 3), weeks]


def _look_ahead(state: State, hour: int, before: int, forecasts: Forecasts) -> None:
    usual, weeks = state.get("h", {}).get(slot(hour), (0.0, 0))
    if weeks < WEEKS or usual < MANY or usual < TIMES * before:
        return
    state["told"] = forecasts.make(
        KIND,
        "arrivals",
        f"in this hour usually {usual:.0f} executions are started; in the hour before it was "
        f"{before}",
        due=(hour + 1) * HOUR,
        expected=usual,
        weeks=weeks,
    )


def slot(hour: int) -> str:
    """Hours since the epoch, a Thursday, as the hour of a week."""
    return str(hour % WEEK)
