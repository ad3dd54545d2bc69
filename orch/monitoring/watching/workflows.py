"""When a workflow takes longer, or fails more often, than it usually does; and where that goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from orch.control.comparison import percentile
from orch.journal.counting import Totals
from orch.monitoring.bands import Band, band, deviation_of_rate, trend
from orch.monitoring.watching.backlog import minutes
from orch.monitoring.watching.forecasts import Forecasts
from orch.monitoring.watching.notes import Notes, State

KIND = "duration"

LEAST_ENDED = 10
"""Executions that end in a window."""

KEPT = 40
"""Windows that say what is usual."""

MOST_DUE = 3
"""Workflows whose durations are read in one observation; the others come next."""

MOST_WATCHED = 200

SURE = 2
"""Windows in a row outside of what is usual, or within again, before it is told."""

SEEN = 12
"""Windows over which it is seen where it goes."""

RISE = 0.3
"""Share of the median by which it must have gone up."""


def ended_of(totals: Totals) -> dict[str, tuple[int, int]]:
    """Workflow -> how many of it ever ended, completed or failed, and failed."""
    found: dict[str, tuple[int, int]] = {}
    for (workflow, status), ends in totals.ended.items():
        if status in ("completed", "failed"):
            ended, failed = found.get(workflow, (0, 0))
            failed += ends.count if status == "failed" else 0
            found[workflow] = (ended + ends.count, failed)
    return found


def due_workflows(state: State, totals: Totals) -> list[str]:
    """Those of which enough has ended since, the most first: their durations are to be read."""
    grown = {
        name: ended - state.get(name, {}).get("base", [0, 0])[0]
        for name, (ended, _) in ended_of(totals).items()
    }
    due = [name for name, more in grown.items() if more >= LEAST_ENDED]
    return sorted(due, key=lambda name: -grown[name])[:MOST_DUE]


def watch_workflows(
    state: State,
    totals: Totals,
    durations: Mapping[str, Sequence[int]],
    notes: Notes,
    forecasts: Forecasts,
) -> None:
    """``state``: workflow -> `base`: what had ended and failed; `w`: windows, [at, ended, failed,
    p95]; `figures`; `told`. ``durations``: of the newest that completed, ms, sorted, of those
    that are due."""
    counted = ended_of(totals)
    for name, known in state.items():
        if counted.get(name, (0, 0))[0] < known["base"][0]:
            known["base"] = [0, 0]  # of a Redis that has begun anew
    for name, took in durations.items():
        known = state.setdefault(name, {"base": [0, 0], "w": [], "figures": {}})
        ended, failed = (
            now - before for now, before in zip(counted[name], known["base"], strict=True)
        )
        p95 = percentile(list(took), 95)
        _compare(known, name, ended, max(failed, 0), p95, notes)
        known["base"] = list(counted[name])
        known["w"] = [*known["w"], [notes.at, ended, max(failed, 0), p95]][-KEPT:]
        _foresee(known, name, notes.at, forecasts)
    if len(state) > MOST_WATCHED:
        latest = sorted(state, key=lambda name: state[name]["w"][-1][0] if state[name]["w"] else 0)
        for name in latest[:-MOST_WATCHED]:
            del state[name]


def _compare(
    known: State, name: str, ended: int, failed: int, p95: int | None, notes: Notes
) -> None:
    windows = known["w"]
    rates = [window[2] / window[1] for window in windows]
    if rates:
        usual = band(rates, deviation_of_rate(median(rates), ended))
        _tell(known["figures"], "errors", name, failed / ended, usual, notes)
    took = [window[3] for window in windows if window[3] is not None]
    if p95 is not None and took:
        usual = band(took, max(0.05 * median(took), 20.0))
        _tell(known["figures"], "p95", name, p95, usual, notes)


def _tell(
    figures: State, figure: str, name: str, value: float, usual: Band | None, notes: Notes
) -> None:
    """``figures``: figure -> [windows outside, within again, note, since, side]."""
    if usual is None:
        return
    outside, within, note, since, side = figures.get(figure) or [0, 0, "", 0, ""]
    now = usual.side(value)
    if figure == "errors" and now == "below":
        now = ""
    if now and not note:
        outside, since = outside + 1, since or notes.at
        if outside == SURE:
            side, note = now, _left(figure, name, value, usual, now, notes)
    elif note and not now:
        within += 1
        if within == SURE:
            _returned(figure, name, value, usual, note, since, notes)
            outside, within, note, since, side = 0, 0, "", 0, ""
    elif not note:
        outside, since = 0, 0
    else:
        within = 0
    figures[figure] = [outside, within, note, since, side]


def _left(figure: str, name: str, value: float, usual: Band, side: str, notes: Notes) -> str:
    if figure == "errors":
        text = f"{name} fails more often than usual"
    else:
        text = f"{name} takes {'longer' if side == 'above' else 'less time'} than usual"
    return notes.add(
        "PERFORMANCE",
        f"{text}: {_shown(figure, value)}, usually {_shown(figure, usual.low)} to "
        f"{_shown(figure, usual.high)} (of {usual.count} windows)",
        f"workflow:{name}",
        tags=["event:leaves", f"workflow:{name}", f"figure:{figure}", f"side:{side}"],
        data=_data(figure, value, usual),
    )


def _returned(
    figure: str, name: str, value: float, usual: Band, note: str, since: int, notes: Notes
) -> None:
    word = "fails as often" if figure == "errors" else "takes as long"
    notes.add(
        "PERFORMANCE",
        f"{name} {word} as usual again: {_shown(figure, value)}; it did not for "
        f"{minutes(notes.at - since)}",
        f"workflow:{name}",
        tags=["event:returns", f"workflow:{name}", f"figure:{figure}"],
        related=[note],
        data={**_data(figure, value, usual), "since": since},
    )


def _data(figure: str, value: float, usual: Band) -> dict[str, Any]:
    found = {"low": usual.low, "usual": usual.middle, "high": usual.high}
    return {"figure": figure, "value": value, **found, "windows": usual.count}


def _shown(figure: str, value: float) -> str:
    if figure == "errors":
        return f"{value:.1%} failed"
    return f"p95 {value:.0f} ms" if value < 1000 else f"p95 {value / 1000:.1f} s"


def _foresee(known: State, name: str, now: int, forecasts: Forecasts) -> None:
    points = [(float(w[0]), float(w[3])) for w in known["w"][-SEEN:] if w[3] is not None]
    told, subject = known.get("told"), f"workflow {name}"
    if not points:
        return
    p95 = points[-1][1]
    if told is not None:
        if now < told[2]:
            return
        forecasts.check(KIND, subject, told, p95, 0.25 * told[3], "ms")
        told = known["told"] = None
    goes = trend(points) if len(points) == SEEN else None
    if goes is None or goes.agreement < 0.75:
        return
    span = points[-1][0] - points[0][0]
    if goes.slope * span < RISE * median(value for _, value in points):
        return
    ahead = span / 2
    expected = p95 + goes.slope * ahead
    known["told"] = forecasts.make(
        KIND,
        subject,
        f"{name} gets slower: its p95 went from {points[0][1]:.0f} to {p95:.0f} ms within "
        f"{minutes(span)}; in {minutes(ahead)} it will be {expected:.0f} ms",
        due=int(now + ahead),
        expected=expected,
        workflow=name,
        p95=p95,
    )
