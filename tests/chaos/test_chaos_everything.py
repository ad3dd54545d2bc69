"""Executions that use all types of steps, while workers are killed at random all the while."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress
from itertools import accumulate
from typing import Any

import pytest

from orch.errors import NotAllowed
from orch.execution import Execution
from orch.journal.journal import HistoryEntry

from .conftest import LONG, Measure
from .processes import System, step
from .test_chaos_load import EVERY, all_ended

EXECUTIONS, CANCELLED, SECONDS = (150, 60, 75.0) if LONG else (18, 6, 8.0)
FAILING = CANCELLED // 2
TAIL = 240.0 if LONG else 60.0
HOUR = 3_600_000
LIMIT, CHILDREN = 2, 5
"""Most that are active at a time: of those that are undone, in each lane; of the children."""

Step = dict[str, Any]


def work(id: str, **given: Any) -> Step:
    return step(id, "chaos_work", input={"seconds": 0.1}, **given)


def of(type: str, id: str, given: Any, **more: Any) -> Step:
    return {"id": id, "type": type, type: given, **more}


def branches(*branches: list[Step], **more: Any) -> Step:
    return {"branches": [{"steps": steps} for steps in branches], **more}


STEPS: list[Step] = [
    step("flaky", "chaos_flaky", retry={"maxAttempts": 3, "interval": 50},
         output={"flaky": "$.output"}, next="race"),
    of("parallel", "race", branches([work("wins")], [of("wait", "loses", {"duration": HOUR})],
                                    join="any"),
       output={"race": "$.output.reason"}, next="some"),
    of("parallel", "some", branches(*([work(f"some{n}")] for n in range(4)),
                                    join={"atLeast": 2}, maxConcurrency=2),
       output={"some": "$.output.reason"}, next="tolerant"),
    of("parallel", "tolerant", branches([step("bad", "chaos_fail")], [work("good")],
                                        tolerate={"count": 1}),
       output={"tolerant": "$.output.counts"}, next="each"),
    of("map", "each", {"items": list(range(8)), "capability": "chaos_next",
                       "input": {"last": "$.item"}, "maxConcurrency": 3, "batch": "auto"},
       output={"each": "$.output.results"}, next="items"),
    of("map", "items", {"items": [1, 2, 3], "maxConcurrency": 2, "steps": [
        work("before", next="rest"),
        of("wait", "rest", {"duration": 50}, next="after"),
        step("after", "chaos_next", input={"last": "$.item"}),
    ]}, output={"items": "$.output.results"}, next="turns"),
    of("loop", "turns", {"until": "$.index >= 2", "steps": [
        step("turn", "chaos_next", input={"last": "$.index"})
    ]}, output={"turns": "$.output"}, next="lap"),
    step("lap", "chaos_next", input={"last": "$.variables.laps"}, output={"laps": "$.output"},
         next="back"),
    of("decision", "back", {"expression": "$.variables.laps", "branches": {"3": "nap"},
                            "default": "lap"}),
    of("wait", "nap", {"duration": 100}, next="ask"),
    {"id": "ask", "type": "wait", "output": {"asked": "$.output"}, "next": "tell", "wait": {
        "poll": {"capability": "chaos_next", "input": {"last": "$.state"}, "interval": 50},
        "until": "$.state >= 2",
    }},
    of("event", "tell", {"name": "chaos_told", "action": "emit", "correlation": "$.input.own",
                         "payload": {"from": "$.input.own"}}, next="hear"),
    of("event", "hear", {"name": "chaos_told", "correlation": "$.input.other"},
       output={"heard": "$.output.from"}, next="call"),
    of("subworkflow", "call", "child", input={"last": 4}, output={"called": "$.output"},
       next="broken"),
    step("broken", "chaos_fail", onError="caught"),
    work("caught", output={"caught": "$.error.name"}, next="outside"),
    step("outside", "chaos_outside", external=True, retry={"maxAttempts": 2, "interval": 50},
         output={"outside": "$.output.of"}, next="once"),
    step("once", "chaos_note", delivery="at_most_once", next="fatal",
         onError={"errors": ["Interrupted"], "next": "fatal"}),
    step("fatal", "chaos_fail", input={"fatal": True}),
    work("rescue", output={"rescued": "$.error.name"}),
]  # fmt: skip

RESULT = {
    "flaky": 7,
    "race": "enough succeeded",
    "some": "enough succeeded",
    "tolerant": {"total": 2, "succeeded": 1, "failed": 1, "cancelled": 0},
    "each": [1, 2, 3, 4, 5, 6, 7, 8],
    "items": [2, 3, 4],
    "turns": 2,
    "laps": 3,
    "asked": 2,
    "called": 6,
    "caught": "Broken",
    "rescued": "Fatal",
}
"""What every execution gives, besides what it heard from another one and was told outside."""

ONCE = Counter(
    ["race", "race/0/wins", "some", "tolerant", "tolerant/1/good", "each", "items", "turns"]
    + [f"items[{n}]/{each}" for n in range(3) for each in ("before", "rest", "after")]
    + [f"turns[{n}]/turn" for n in range(2)]
    + ["flaky", "lap", "lap#2", "lap#3", "nap", "ask", "tell", "hear", "call", "caught"]
    + ["outside", "rescue"]
)
"""What is committed, besides the branches of `some`, single items, and `once`."""

UNDO = {"capability": "chaos_work", "retry": {"maxAttempts": 3, "interval": 50}}


def define(system: System) -> None:
    define = system.orchestrator.define_workflow
    child = [
        step("c1", "chaos_next", input={"last": "$.input.last"}, next="c2"),
        step("c2", "chaos_next", input={"last": "$.output"}),
    ]
    define("child", {"name": "child", "steps": child, "maxActive": CHILDREN})
    result = {name: f"$.variables.{name}" for name in [*RESULT, "heard", "outside"]}
    handlers = [{"error": "Fatal", "handler": "rescue"}]
    define(
        "everything",
        {"name": "everything", "steps": STEPS, "errorHandlers": handlers, "result": result},
    )
    undone = [
        work("u1", compensate=UNDO, next="u2"),
        of("parallel", "u2", branches([work("x", compensate=UNDO)], [work("y", compensate=UNDO)]),
           next="u3"),
        of("subworkflow", "u3", "child", input={"last": 1}, compensate=UNDO, next="u4"),
        of("wait", "u4", {"duration": HOUR}),
    ]  # fmt: skip
    gate = {"key": "$.input.lane", "limit": LIMIT}
    define("undone", {"name": "undone", "steps": undone, "concurrency": gate})
    failing = [*undone[:-1], step("u4", "chaos_fail")]
    define("failing", {"name": "failing", "steps": failing})
    define("held", {"name": "held", "steps": [step("hold", "chaos_hold")]})


@pytest.mark.timeout(900)
def test_steps_of_all_types_end_once_while_workers_are_killed_at_random(
    own_server: System, measure: Measure
) -> None:
    system = own_server
    seed = int(os.environ.get("ORCH_CHAOS_SEED", time.time_ns()))
    print(f"ORCH_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    define(system)
    system.staff(2)
    held = system.start("held")
    holds = system.worker_of(system.claimed(held, "hold").detail["worker"])
    whole = [
        system.start("everything", input={"own": f"n{n}", "other": f"n{n ^ 1}"})
        for n in range(EXECUTIONS)
    ]
    undone = [system.start("undone", input={"lane": n % 2}) for n in range(CANCELLED)]
    failing = [system.start("failing") for _ in range(FAILING)]
    everyone = [held, *whole, *undone, *failing]
    kills = 0
    open_ones = undone[:]
    begun = time.monotonic()
    while not all_ended(system, everyone):
        passed = time.monotonic() - begun
        assert passed < SECONDS + TAIL, waits(system, everyone)
        if (kills + 0.5) * EVERY < passed < SECONDS:
            (chance.choice(system.workers) if kills else holds).kill()
            system.staff(2)
            kills += 1
        report(system)
        if open_ones and passed > (CANCELLED - len(open_ones)) * SECONDS / CANCELLED:
            open_ones.pop().cancel("enough", grace=1.0)
        time.sleep(0.05)
    what = f"{EXECUTIONS} of all types, {CANCELLED} cancelled, {FAILING} failing, {kills} kills"
    measure(f"{what}: start -> all ended", time.monotonic() - begun)
    for number, execution in enumerate(whole):
        check_whole(system, execution, number)
    for execution in undone:
        check_undone(execution, "cancelled")
    for execution in failing:
        check_undone(execution, "failed")
        assert (execution.status().error or {})["name"] == "Broken"
    entries = [entry for each in everyone for entry in each.history()]
    lost = sum(entry.event == "lost" for entry in entries)
    print(f"{kills} kills, {lost} attempts lost")
    assert lost > 0, "no worker died inside a step: nothing was tested"
    system.assert_committed_once(held, ["hold"])
    listed = system.orchestrator.list_executions(limit=10_000)
    children = [system.orchestrator.execution(i.id) for i in listed if i.workflow == "child"]
    for each in children:
        ends_once(each.history())
    assert at_most(CHILDREN, children)
    assert at_most(LIMIT, undone[::2]) and at_most(LIMIT, undone[1::2])


def at_most(limit: int, executions: list[Execution]) -> bool:
    """Whether no more of them were ever active at a time."""
    changes: list[tuple[int, int]] = []
    for each in executions:
        at = {entry.event: entry.at for entry in each.history() if not entry.path}
        if "begun" in at:
            changes += [(at["begun"], 1), (at["ended"], -1)]
    active = accumulate(change for _, change in sorted(changes))
    return 0 < max(active, default=0) <= limit


def report(system: System) -> None:
    """Those outside: each task fails once, then it is done."""
    for task in system.orchestrator.list_tasks("chaos_outside"):
        with suppress(NotAllowed):
            if task.attempt == 1:
                system.orchestrator.fail_task(task.id, "Later")
            else:
                system.orchestrator.complete_task(task.id, {"of": task.attempt})


def waits(system: System, executions: list[Execution]) -> str:
    """Those that have not ended, and why."""
    late = [each for each in executions if not system.orchestrator.manager.ended(each.id)]
    return "; ".join(f"{each.id}: {each.status().waiting_for}" for each in late)


def ends_once(history: list[HistoryEntry]) -> Counter[str]:
    """How often each step was committed: once."""
    assert sum(entry.event == "ended" for entry in history) == 1
    commits = Counter(entry.path for entry in history if entry.event == "completed")
    assert max(commits.values(), default=1) == 1, commits
    attempts = Counter((e.path, e.attempt) for e in history if e.event == "claimed")
    assert max(attempts.values(), default=1) == 1, attempts
    return commits


def check_whole(system: System, execution: Execution, number: int) -> None:
    found = execution.status()
    assert found.status == "completed", (execution.id, found.error)
    assert found.output == {**RESULT, "heard": f"n{number ^ 1}", "outside": 2}
    history = execution.history()
    commits = ends_once(history)
    some = {path for path in commits if path.startswith("some/")}
    assert len(some) >= 2
    loose = {path for path in commits if path.startswith("each[")} | some | {"once"}
    assert Counter({p: n for p, n in commits.items() if p not in loose}) == ONCE
    failed = Counter(entry.path for entry in history if entry.event == "failed")
    expected = Counter(["tolerant/0/bad", "broken", "fatal"])
    assert failed == expected + Counter({"once": 1 - commits["once"]})
    assert len(system.runs(execution, "once")) <= 1, "run at most once"
    assert all(e.attempt == 1 for e in history if e.path == "once" and e.event == "claimed")


def check_undone(execution: Execution, status: str) -> None:
    found = execution.status()
    assert found.status == status
    commits = ends_once(execution.history())
    done = {path for path in commits if path in ("u1", "u2/0/x", "u2/1/y", "u3")}
    undone = {path.removeprefix("compensations/") for path in commits if path.startswith("comp")}
    assert undone == done
    assert set((found.error or {}).get("compensated", [])) == done
