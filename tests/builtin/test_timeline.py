"""Timelines and specifications, by rules."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.agents.builtin.specification_generation import specification_generation
from orch.agents.builtin.timeline_creation import timeline_creation
from orch.agents.planning.timeline import PlannedTask, schedule
from orch.errors import StepError

FRIDAY = date(2026, 3, 6)


def task(id: str, hours: float, *after: str, **more: Any) -> PlannedTask:
    return PlannedTask(id=id, hours=hours, dependsOn=list(after), **more)


def days(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {entry["id"]: (entry["start"][-5:], entry["end"][-5:]) for entry in found["entries"]}


def test_tasks_follow_one_another_on_working_days() -> None:
    found = timeline_creation([task("a", 6), task("b", 9, "a"), task("c", 3, "b")], FRIDAY)
    assert days(found) == {
        "a": ("03-06", "03-06"),
        "b": ("03-09", "03-10"),
        "c": ("03-10", "03-10"),
    }
    assert (found["end"], found["workingDays"], found["hours"]) == ("2026-03-10", 3, 18)
    assert found["criticalPath"] == ["a", "b", "c"]
    assert "    a :2026-03-06, 2026-03-07" in found["mermaid"]


def test_two_people_work_at_the_same_time_and_nobody_on_free_days() -> None:
    tasks = [task("a", 6), task("b", 6), task("c", 6, "a", "b")]
    found = timeline_creation(tasks, FRIDAY, people=2, freeDays=[date(2026, 3, 9)])
    assert days(found) == {
        "a": ("03-06", "03-06"),
        "b": ("03-06", "03-06"),
        "c": ("03-10", "03-10"),
    }
    assert {entry["person"] for entry in found["entries"]} == {1, 2}


def test_the_urgent_comes_first_then_what_others_wait_for() -> None:
    tasks = [task("long", 4), task("first", 1), task("then", 8, "first"), task("now", 1)]
    tasks[-1].priority = "critical"
    found = timeline_creation(tasks, FRIDAY)
    assert [entry["id"] for entry in found["entries"]] == ["now", "first", "then", "long"]


@st.composite
def plans(draw: st.DrawFn) -> list[PlannedTask]:
    count = draw(st.integers(1, 12))
    return [
        task(
            str(n),
            draw(st.integers(0, 20)) / 2,
            *(str(m) for m in range(n) if draw(st.booleans())),
        )
        for n in range(count)
    ]


@given(plans(), st.integers(1, 4))
def test_nobody_does_two_tasks_at_once_and_none_begins_too_early(
    tasks: list[PlannedTask], people: int
) -> None:
    found = schedule(tasks, FRIDAY, people=people)
    entries = {entry["id"]: entry for entry in found["entries"]}
    assert set(entries) == {task.id for task in tasks}
    for entry in entries.values():
        assert all(entries[id]["endHour"] <= entry["startHour"] for id in entry["dependsOn"])
    for person in range(1, people + 1):
        own = sorted(
            (e["startHour"], e["endHour"]) for e in entries.values() if e["person"] == person
        )
        assert all(own[n][1] <= own[n + 1][0] for n in range(len(own) - 1))
    assert found["start"] <= found["end"]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([task("a", 1), task("a", 1)], "two tasks have the id 'a'"),
        ([task("a", 1, "b")], "depends on 'b', which is no task"),
        ([task("a", 1, "b"), task("b", 1, "a"), task("c", 1)], "wait for one another: 'a', 'b'"),
        ([task("a", 1, "a")], "wait for one another: 'a'"),
        ([task("a", 1, priority="soon")], "no priority 'soon'"),
    ],
)
def test_tasks_that_cannot_be_done_are_said(tasks: list[PlannedTask], said: str) -> None:
    with pytest.raises(StepError) as failed:
        timeline_creation(tasks, FRIDAY)
    assert failed.value.name == "InvalidInput"
    assert said in str(failed.value)


def test_no_tasks_take_no_time() -> None:
    assert timeline_creation([], FRIDAY)["workingDays"] == 0


def test_a_specification_has_numbers_priorities_and_acceptance() -> None:
    found = specification_generation(
        ["As a clerk, I want to export reports, so that I can print them.", "It could be blue"],
        ["Answers within 2 seconds", "Passwords are encrypted", "It is on the third floor"],
    )
    first, second = found["functional"]
    assert first["story"] == {
        "as": "clerk", "want": "to export reports", "soThat": "I can print them"
    }  # fmt: skip
    assert (first["priority"], second["priority"]) == ("must", "could")
    assert [entry["category"] for entry in found["nonFunctional"]] == [
        "performance", "security", "constraint"
    ]  # fmt: skip
    assert "### F2 (could)" in found["markdown"]
    assert "- **N2**, security: Passwords are encrypted" in found["markdown"]


def test_nothing_cannot_be_specified() -> None:
    with pytest.raises(StepError, match="`requirements` is empty"):
        specification_generation("")
