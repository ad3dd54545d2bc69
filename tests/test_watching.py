"""What is told from one observation to the next: figures in, notes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.journal.counting import Ends, Totals
from orch.monitoring.bands import band, confidence, deviation_of_rate, trend
from orch.monitoring.facts import Facts
from orch.monitoring.health import reasons
from orch.monitoring.watching.advice import watch_limits, watch_scaling
from orch.monitoring.watching.arrivals import HOUR, watch_arrivals
from orch.monitoring.watching.backlog import watch_backlogs
from orch.monitoring.watching.forecasts import Forecasts
from orch.monitoring.watching.health import watch_health
from orch.monitoring.watching.notes import Notes
from orch.monitoring.watching.workflows import due_workflows, watch_workflows
from orch.resources.advice import CapacityPlan
from orch.workflows.agents import Tallied
from orch.workflows.note import Note
from tests.build import NOW

MINUTE = 60_000


class Watched:
    """Observations a minute apart; ``told`` are the notes of all of them, by their ids."""

    def __init__(self) -> None:
        self.at = NOW
        self.number = 0
        self.state: dict[str, Any] = {}
        self.outcomes: dict[str, Any] = {}
        self.told: dict[str, Note] = {}

    def next(self, ms: int = MINUTE) -> tuple[Notes, Forecasts]:
        self.at, self.number = self.at + ms, self.number + 1
        notes = Notes(self.number, self.at, self.told)
        return notes, Forecasts(self.outcomes, notes)

    def texts(self, *tags: str) -> list[str]:
        return [note.text for note in self.told.values() if set(tags) <= set(note.tags)]


def worker(*queues: str, seconds: float = 1.0, slots: int = 1) -> dict[str, Any]:
    tally = {
        name: Tallied(10, 0, 10 * seconds, 1, 10, 10 * seconds, 60.0).as_list() for name in queues
    }
    return {"id": "w", "name": "w@h", "queues": queues, "tally": tally, "concurrency": slots}


# Bands and trends


def test_a_single_figure_does_not_move_what_is_usual() -> None:
    usual = band([100, 110, 90, 105, 95, 100, 98, 9000])
    assert usual is not None
    assert usual.side(104) == ""
    assert (usual.side(900), usual.side(1)) == ("above", "below")
    assert band([1] * 7) is None


def test_a_rate_that_is_seen_in_few_trials_may_be_far_from_the_true_one() -> None:
    assert deviation_of_rate(0, 5) > 0.15 > 0.01 > deviation_of_rate(0, 100)
    assert deviation_of_rate(0.5, 0) == 1


@given(st.floats(-5, 5).filter(lambda x: abs(x) > 0.01), st.integers(3, 12))
def test_a_line_is_its_own_trend(slope: float, count: int) -> None:
    found = trend([(float(x), 100 + slope * x) for x in range(count)])
    assert found is not None
    assert found.slope == pytest.approx(slope)
    assert found.agreement == 1


def test_of_two_points_or_one_instant_nothing_is_said() -> None:
    assert trend([(0, 1), (1, 2)]) is None
    assert trend([(0, 1), (0, 2), (0, 3)]) is None


def test_who_was_right_is_believed_more() -> None:
    assert confidence([]) == 0.5
    assert confidence([0, 0]) < 0.5 < confidence([1, 0, 1]) < confidence([1] * 8) < 1


# Health


def watch(watched: Watched, facts: Facts) -> None:
    notes, _ = watched.next()
    watch_health(watched.state, reasons(facts, 0.25), notes)


def test_a_reason_is_told_when_it_stays_and_when_it_is_gone() -> None:
    watched = Watched()
    fine = Facts(NOW, workers=[worker("a")])
    wrong = Facts(NOW, workers=[worker("a")], queues={"b": 7})
    watch(watched, fine)
    watch(watched, wrong)
    watch(watched, fine)  # it was so for a moment
    assert watched.told == {}
    for facts in (wrong, wrong, wrong, fine, fine, fine):
        watch(watched, facts)
    begins, degraded, ends, healthy = watched.told.values()
    assert "7 messages wait in queue 'b', which no live worker serves" in begins.text
    assert "start a worker" in begins.text
    assert degraded.text.startswith("health is degraded, and was healthy: 7 messages")
    assert ends.text.endswith("it was so for 240 s")
    assert healthy.text == "health is healthy, and was degraded"
    ids = list(watched.told)
    assert (ends.related, healthy.related) == ([ids[0]], [ids[1]])
    assert all(note.area == "MONITOR" for note in watched.told.values())


# Backlogs


def observe(watched: Watched, depths: Sequence[int], live: Sequence[Any] = ()) -> None:
    for depth in depths:
        _, forecasts = watched.next()
        facts = Facts(watched.at, workers=live, queues={"nap": depth})
        watch_backlogs(watched.state, facts, forecasts)


def test_a_queue_that_grows_will_not_empty_and_that_is_checked() -> None:
    watched = Watched()
    observe(watched, [5, 25, 45, 65], [worker("nap")])
    (made,) = watched.told.values()
    assert made.area == "PREDICT"
    assert made.text == (
        "queue nap will not empty with what runs (1 workers): 65 messages wait, 20.0 more a "
        "minute; in 10 min it will be 265"
    )
    assert made.confidence == 0.5
    observe(watched, [85, 105, 125, 145, 165, 185, 205, 225, 245, 265])
    checked = watched.texts("event:checked", "came:true")
    assert len(checked) == 1 and "265 messages were expected, and it is 265" in checked[0]
    first, second, third = watched.told.values()
    assert second.related == [next(iter(watched.told))]
    assert third.confidence == 0.667  # believed more, and looks twice as far
    assert "in 20 min" in third.text
    assert first.data["a_minute"] == 20


def test_a_forecast_that_did_not_come_true_makes_the_next_one_less_sure() -> None:
    watched = Watched()
    observe(watched, [5, 25, 45, 65, 40, 10, 0, 0, 0, 0, 0, 0, 0, 0])
    assert watched.texts("came:false")
    assert watched.state == {}  # nothing is kept of a queue that is empty
    assert confidence(watched.outcomes["backlog"]) == pytest.approx(1 / 3)


def test_a_queue_that_takes_long_is_foretold_and_one_that_goes_up_and_down_is_not() -> None:
    watched = Watched()
    observe(watched, [1000, 990, 980, 970])
    (text,) = watched.texts("kind:backlog")
    assert "takes 97 min to empty" in text
    other = Watched()
    observe(other, [30, 10, 40, 5, 35, 20, 25, 30])
    observe(other, [400, 300, 200, 100, 0])
    assert other.told == {}


# Workflows


class Executions:
    """A workflow of which so many end between two observations."""

    def __init__(self) -> None:
        self.watched = Watched()
        self.ended = self.failed = 0

    def window(self, took: int, ended: int = 20, failed: int = 0) -> None:
        self.ended, self.failed = self.ended + ended, self.failed + failed
        notes, forecasts = self.watched.next()
        totals = Totals(
            ended={
                ("orders", "completed"): Ends(0, {"+": self.ended - self.failed}),
                ("orders", "failed"): Ends(0, {"+": self.failed}),
                ("orders", "cancelled"): Ends(0, {"+": 5}),
            }
        )
        due = due_workflows(self.watched.state, totals)
        durations = {name: [took] * 50 for name in due}
        watch_workflows(self.watched.state, totals, durations, notes, forecasts)


def test_a_workflow_that_takes_longer_is_told_when_it_does_and_when_it_does_no_more() -> None:
    orders = Executions()
    for took in (1000, 1050, 980, 1010, 990, 1030, 1000, 970, 1020):
        orders.window(took)
    orders.window(5000)  # once
    orders.window(1000)
    assert orders.watched.told == {}
    for took in (5000, 5000, 5100, 1000, 1010):
        orders.window(took)
    left, returned = orders.watched.told.values()
    assert left.area == "PERFORMANCE"
    assert left.text.startswith("orders takes longer than usual: p95 5.0 s, usually p95 ")
    assert "workflow:orders" in left.tags
    assert returned.text.startswith("orders takes as long as usual again: p95 1.0 s")
    assert returned.related == [next(iter(orders.watched.told))]


def test_a_workflow_that_fails_more_often_is_told_and_chance_is_not() -> None:
    orders = Executions()
    for failed in (0, 1, 0, 0, 1, 0, 0, 0, 1, 2):
        orders.window(1000, failed=failed)
    assert orders.watched.told == {}
    for failed in (12, 14, 13):
        orders.window(1000, failed=failed)
    (left,) = orders.watched.told.values()
    assert left.text.startswith("orders fails more often than usual: 70.0% failed")


def test_few_ends_make_no_window_and_those_that_are_forgotten_do_no_harm() -> None:
    orders = Executions()
    for _ in range(3):
        orders.window(1000, ended=4)
    assert orders.watched.state["orders"]["base"] == [12, 0]
    orders.ended = 0  # a Redis that has begun anew
    orders.window(1000, ended=4)
    orders.window(1000, ended=8)
    assert orders.watched.state["orders"]["base"] == [12, 0]
    assert len(orders.watched.state["orders"]["w"]) == 2


def test_a_workflow_that_gets_slower_is_foretold_and_checked() -> None:
    orders = Executions()
    for number in range(20):
        orders.window(1000 + 50 * number)
    text, *_ = orders.watched.texts("kind:duration", "event:forecast")
    assert text.startswith("orders gets slower: its p95 went from 1000 to 1550 ms within 11 min")
    assert orders.watched.texts("kind:duration", "came:true")


# Arrivals


def test_an_hour_in_which_usually_much_is_started_is_foretold() -> None:
    watched, total = Watched(), 0
    watched.at = (NOW // (168 * HOUR) + 1) * 168 * HOUR - 10 * MINUTE
    first = watched.at + 10 * MINUTE
    while watched.at < first + 3 * 168 * HOUR + 3 * HOUR:
        _, forecasts = watched.next(10 * MINUTE)
        busy = (watched.at // HOUR) % 168 == 2
        total += 100 if busy else 1
        watch_arrivals(watched.state, watched.at, total, forecasts)
    made = watched.texts("kind:arrivals", "event:forecast")
    assert (
        made == ["in this hour usually 600 executions are started; in the hour before it was 6"] * 2
    )
    assert len(watched.texts("kind:arrivals", "came:true")) == 2


# Advice


def test_another_number_of_workers_is_told_when_it_stays_so() -> None:
    watched = Watched()
    for depth in (0, 600, 0, 600, 600, 600, 600, 0, 0, 0, 0):
        notes, _ = watched.next()
        facts = Facts(watched.at, workers=[worker("nap")], queues={"nap": depth})
        watch_scaling(watched.state, facts, notes)
    more, fewer = watched.told.values()
    assert more.area == "OPTIM"
    assert more.text == "nap: 21 workers are advised, 1 run; 1 were advised before"
    assert fewer.text == "nap: 1 workers are advised, 1 run; 21 were advised before"
    assert fewer.related == [next(iter(watched.told))]


def test_a_limit_that_is_short_is_told_once_and_when_it_is_enough() -> None:
    watched = Watched()
    short = CapacityPlan(kind="resource", name="gpu", hours=24, advised=4, advice="4 would do")
    for plans in ([short], [short], [short.model_copy(update={"advised": 5})], [], []):
        notes, _ = watched.next()
        watch_limits(watched.state, plans, notes)
    assert watched.texts("event:limit") == [
        "4 would do",
        "4 would do",
        "resource gpu is enough as it is",
    ]
