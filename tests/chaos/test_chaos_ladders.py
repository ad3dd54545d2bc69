"""Ladders, while what climbs them is killed: no rung is skipped, none is taken twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orch.errors import AlreadyDecided
from orch.execution import Execution

from .conftest import GIVEN, NewBroker
from .processes import System, Valkey, step, wait_until

DEADLINE = 60.0
DATABASE = 3
NUMBER_OF_WORKERS = 2
TOLD = {"escalated": "raised", "rung": "rung", "resolved": "resolved"}
"""What the history says, and the notice that goes with it."""

DECIDE = """
import os, sys
from orch import Orchestrator
from orch.faults import arm

url, directory, *decisions = sys.argv[1:]
for id, word, to in zip(*[iter(decisions)] * 3):
    if not (child := os.fork()):
        arm(f"ruled:{directory}/{word}")
        Orchestrator(redis_url=url).decide_escalation(id, word, to=to, by="ada")
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Each decision is made by a process of its own, which dies of it."""


def environment(directory: Path) -> dict[str, str]:
    """Workers that look soon, and tell of every notice in a file."""
    hook = {"name": "book", "kind": "command", "argv": ["tee", "-a", str(directory / "book")]}
    given = {"ORCH_HOOKS": json.dumps([{**hook, "timeout": 1}]), "ORCH_DISPATCH_GRACE": "1"}
    return {**GIVEN, **given}


@pytest.fixture(scope="module")
def climbing(
    server: Valkey, tmp_path_factory: pytest.TempPathFactory, new_broker: NewBroker
) -> Iterator[System]:
    place = tmp_path_factory.mktemp("ladders")
    system = System(server, DATABASE, place, broker=new_broker(), **environment(place))
    yield system
    system.close()


@pytest.fixture
def system(climbing: System) -> Iterator[System]:
    climbing.staff(NUMBER_OF_WORKERS)
    yield climbing
    climbing.disarm()
    climbing.staff(1)
    climbing.assert_nothing_is_left()


def start(system: System, *rungs: Any, **more: Any) -> Execution:
    """An execution whose only step fails, and then has this ladder."""
    deploy = step("deploy", "chaos_fail", escalation=list(rungs), **more)
    return system.start(system.define("deploy", deploy))


def fallback(capability: str, **more: Any) -> dict[str, Any]:
    return {"fallback": {"capability": capability, **more}}


def ended(execution: Execution) -> str:
    return execution.wait(DEADLINE).status


def waits_in(system: System, execution: Execution, queue: str) -> None:
    def found() -> bool:
        return any(
            item.execution == execution.id and item.queue == queue
            for item in system.orchestrator.list_escalations()
        )

    wait_until(found, what=f"it waits in {queue}")


def told(system: System, execution: Execution) -> Counter[tuple[str, str]]:
    """The notices that were delivered, as (id, event)."""
    book = system.directory / "book"
    text = book.read_text() if book.exists() else ""
    found, decoder = [], json.JSONDecoder()
    while text:
        body, end = decoder.raw_decode(text)
        found.append(body["data"])
        text = text[end:]
    return Counter((n["id"], n["event"]) for n in found if n["execution"] == execution.id)


def climbed(execution: Execution) -> list[int]:
    return [e.detail["rung"] for e in execution.history() if e.event in ("escalated", "rung")]


def assert_climbed_once(system: System, execution: Execution, rungs: int) -> None:
    """Each rung was entered once, in order; each notice was told, always under one id."""
    history = execution.history()
    assert climbed(execution) == list(range(1, rungs + 1))
    assert Counter(e.event for e in history)["resolved"] == 1
    assert max(system.commits(execution).values(), default=1) == 1
    assert Counter(e.event for e in history)["ended"] == 1
    expected = Counter(TOLD[e.event] for e in history if e.event in TOLD)

    def all_told() -> bool:
        return Counter(event for _, event in told(system, execution)) == expected

    wait_until(lambda: len(told(system, execution)) >= expected.total(), what="all is told")
    assert all_told(), (told(system, execution), expected)


# --- a process dies ----------------------------------------------------------------------------


def test_who_dies_when_the_failed_attempt_is_committed_has_raised_the_escalation(
    system: System,
) -> None:
    system.arm("settled")
    execution = start(system, fallback("chaos_note"))
    assert ended(execution) == "completed"
    assert system.struck("settled"), "nobody died"
    assert system.runs(execution, "deploy") == [1]
    assert len(system.runs(execution, "deploy/~1")) == 1
    assert_climbed_once(system, execution, 1)


@pytest.mark.parametrize("point", ["claimed", "called", "settled"])
def test_who_dies_in_the_work_of_a_rung_skips_no_rung_and_repeats_none(
    system: System, point: str
) -> None:
    execution = start(system, fallback("chaos_hold_and_fail"), fallback("chaos_note"))
    system.claimed(execution, "deploy/~1")
    system.arm(point)
    system.release(execution, "deploy/~1")
    assert ended(execution) == "completed"
    assert system.struck(point), "nobody died"
    assert system.runs(execution, "deploy/~1") == ([1, 2] if point == "called" else [1])
    assert len(system.runs(execution, "deploy/~2#2")) == 1
    assert_climbed_once(system, execution, 2)


def test_a_worker_that_is_killed_in_the_work_of_a_rung_is_followed_by_another(
    system: System,
) -> None:
    execution = start(system, fallback("chaos_hold"), "human")
    victim = system.worker_of(system.claimed(execution, "deploy/~1").detail["worker"])
    victim.kill()
    assert ended(execution) == "completed"
    assert system.runs(execution, "deploy/~1") == [1, 2]
    assert_climbed_once(system, execution, 1)


def test_who_dies_between_the_end_of_a_rung_and_the_work_of_the_next_loses_neither(
    system: System,
) -> None:
    system.arm("advanced")
    execution = start(system, {"human": {"within": 300}}, fallback("chaos_note"))
    assert ended(execution) == "completed"
    assert system.struck("advanced"), "nobody died"
    assert system.runs(execution, "deploy/~2") == [1]
    assert_climbed_once(system, execution, 2)


def test_a_notice_is_delivered_although_who_sends_it_dies_and_who_delivers_it(
    system: System,
) -> None:
    system.arm("noticed")
    system.arm("notice_taken")
    execution = start(system, fallback("chaos_fail"), fallback("chaos_note"))
    assert ended(execution) == "completed"
    assert_climbed_once(system, execution, 2)
    assert system.struck("noticed") and system.struck("notice_taken"), "nobody died"


def test_a_decision_holds_although_who_decides_dies_at_once(system: System, tmp_path: Path) -> None:
    ends = {"reroute": "completed", "skip": "completed", "abort": "cancelled"}
    executions = {word: start(system, "human") for word in ends}
    decisions: list[str] = []
    for word, execution in executions.items():
        waits_in(system, execution, "inbox")
        decisions += [f"{execution.id}:deploy", word, "chaos_note" if word == "reroute" else ""]
    command = [sys.executable, "-c", DECIDE, system.orchestrator.server.url, str(tmp_path)]
    said = subprocess.run(
        [*command, *decisions],
        env={**os.environ, "ORCH_DISPATCH_GRACE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    assert said.stdout.split() == [str(-signal.SIGKILL)] * len(ends)
    with pytest.raises(AlreadyDecided, match="skip by ada"):
        system.orchestrator.decide_escalation(f"{executions['skip'].id}:deploy", "retry", by="bob")
    for word, execution in executions.items():
        assert ended(execution) == ends[word]
        ruled = [e.detail["decision"] for e in execution.history() if e.event == "ruled"]
        assert ruled == [word]
    assert system.runs(executions["reroute"], "deploy/~to.chaos_note") == [1]
    for word in ("reroute", "skip"):
        assert_climbed_once(system, executions[word], 1)


def test_a_compensation_that_fails_is_asked_about_and_undone_once_whoever_dies(
    system: System,
) -> None:
    undo = {"capability": "chaos_fail"}
    booked = step("book", next="last", compensate=undo, escalation=["human"])
    name = system.define("undone", booked, step("last", "chaos_fail", escalation=[]))
    path = "compensations/book"
    system.arm("noticed")  # behind the commit of what asks, before its notice
    execution = system.start(name)
    waits_in(system, execution, "inbox")
    wait_until(lambda: system.struck("noticed"), what="somebody dies")
    system.orchestrator.decide_escalation(f"{execution.id}:{path}", "retry", by="ada")
    wait_until(lambda: len(told(system, execution)) >= 2, what="it comes back")
    assert system.runs(execution, f"{path}/~1") == [1]
    system.orchestrator.decide_escalation(f"{execution.id}:{path}", "skip", by="ada")
    assert ended(execution) == "failed"
    error = execution.status().error or {}
    assert error["compensated"] == ["book"]
    assert system.commits(execution) == Counter(["book", path])
    wait_until(lambda: len(told(system, execution)) >= 3, what="all is told")


# --- all of it dies ----------------------------------------------------------------------------


def kill_all(system: System) -> None:
    for worker in system.workers:
        worker.kill()


def test_a_rung_that_ends_while_no_worker_lives_is_followed_by_the_next(
    system: System,
) -> None:
    execution = start(system, {"human": {"within": 1000}}, fallback("chaos_note"))
    waits_in(system, execution, "inbox")
    kill_all(system)
    journal = system.orchestrator.runtime.journal
    record = journal.read_escalation(execution.id, "deploy")
    assert record is not None
    wait_until(lambda: journal.clock() > record.until)
    assert climbed(execution) == [1]
    system.staff(NUMBER_OF_WORKERS)
    assert ended(execution) == "completed"
    assert_climbed_once(system, execution, 2)


def test_what_waits_at_a_person_waits_on_when_redis_was_killed(own_server: System) -> None:
    system = own_server
    system.environment |= environment(system.directory)
    system.staff(1)
    execution = start(system, {"human": {"queue": "leads", "within": "1h"}}, "fail")
    waits_in(system, execution, "leads")
    wait_until(lambda: told(system, execution), what="it is told")
    before = system.orchestrator.list_escalations()
    assert system.redis.execute_command("WAITAOF", 1, 0, 5000)[0] == 1, "it is on the disk"
    system.server.kill()
    system.server.start()
    assert system.orchestrator.list_escalations() == before
    decided = wait_until(lambda: decide(system, f"{execution.id}:deploy"))
    assert decided.decision == "skip"
    assert ended(execution) == "completed"
    assert_climbed_once(system, execution, 1)


def decide(system: System, id: str) -> Any:
    return system.orchestrator.decide_escalation(id, "skip", 7, by="ada")
