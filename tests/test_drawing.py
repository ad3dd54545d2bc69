"""Messages that a process of a pool takes from the queue itself, and what becomes of them."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.workers import WorkerProcesses
from orch.execution import Execution
from orch.journal.scripts import load
from orch.journal.wire import _Line
from orch.lists import Lists
from orch.settings import Settings
from orch.tasks.drawing import Drawing
from orch.tasks.drawn_tokens import BYTES, ROWS, DrawnTokens
from orch.tasks.step import run_step

CODE = """
import os, pathlib, signal, time
from orch import capability

@capability("quick")
def quick(once: str | None = None) -> int:
    if once is not None:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return 1

@capability("other")
def other() -> int:
    return 2

@capability("slow")
def slow() -> int:
    time.sleep(0.02)
    return 3
"""

QUICK = {"name": "quick", "steps": [{"id": "a", "capability": "quick"}]}
ALONE: Any = SimpleNamespace(number=0, has_others=False)
COUNT = 200
Wait = Callable[..., Any]


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        for name in ("quick", "other", "slow"):
            steps = [{"id": "a", "capability": name, "input": "$.input"}]
            made.define_workflow(name, {"name": name, "steps": steps})
        yield made


@pytest.fixture
def lists(orchestrator: Orchestrator) -> Lists:
    found = orchestrator.runtime.lists
    assert found is not None
    return found


@pytest.fixture
def staff(orchestrator: Orchestrator, tmp_path: Path) -> Callable[..., WorkerProcesses]:
    code = tmp_path / "drawn_code.py"
    code.write_text(CODE)

    def make(events: bool = False, **environment: str) -> WorkerProcesses:
        given = {"ORCH_BUILTINS": "0", **environment}
        return orchestrator.workers(
            include=[str(code)], concurrency=1, environment=given, events=events
        )

    return make


def begin(orchestrator: Orchestrator, name: str, count: int, **input: Any) -> list[Execution]:
    """Start so many, where no worker takes anything yet."""
    starts = [(name, input)] * count
    return [each for each in orchestrator.start_workflows(starts) if isinstance(each, Execution)]


def all_end(executions: list[Execution]) -> None:
    for each in executions:
        assert each.wait(60).status == "completed"


def carried(orchestrator: Orchestrator, name: str) -> int:
    """Messages that the main process of the one worker has handed to its pool."""
    found = orchestrator.runtime.app.control.inspect(timeout=5, limit=1).stats()
    (said,) = found.values()
    return int(said["total"].get(f"orch.{name}", 0))


def committed(execution: Execution) -> int:
    return sum(entry.event == "completed" for entry in execution.history())


# --- the lists -------------------------------------------------------------------------------


def test_the_next_message_is_the_oldest_of_the_highest_level(
    lists: Lists, redis: Redis, orchestrator: Orchestrator
) -> None:
    levels = (0, 3, 0, 9, 3)
    ids = [orchestrator.start_workflow("quick", priority=level).id for level in levels]
    taken = []
    while (found := lists.take("quick")) is not None:
        args = json.loads(base64.b64decode(json.loads(found[1])["body"]))[0]
        taken.append((found[0], args[0]))
    assert taken == [(levels[n], ids[n]) for n in (3, 1, 4, 0, 2)]


def test_a_message_that_is_given_back_is_the_next_again(lists: Lists, redis: Redis) -> None:
    redis.lpush("quick", "first", "second")
    level, text = lists.take("quick") or (9, "")
    lists.give_back("quick", level, text)
    assert text == "first"
    assert redis.lrange("quick", 0, -1) == ["second", "first"]


def test_one_of_some_queues_holds_messages(lists: Lists, redis: Redis) -> None:
    assert not lists.hold("a", "b")
    redis.lpush("b", "message")
    assert lists.hold("a", "b") and not lists.hold("a")


def test_the_message_of_the_next_step_goes_with_the_end_of_the_one_before(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    steps = [{"id": "a", "capability": "quick", "next": "b"}, {"id": "b", "capability": "other"}]
    orchestrator.define_workflow("two", {"name": "two", "steps": steps})
    execution = orchestrator.start_workflow("two").id
    runtime = orchestrator.runtime
    plan = runtime.plans.get(str(runtime.journal.plan_of(execution)))
    request = SimpleNamespace(chain=None, id="0123456789ab", root_id=None)
    for name in ("claim", "settle_on"):
        redis.script_load(load()[name].lua)
    sent: list[int] = []
    real = _Line.send

    def send(line: _Line, *commands: Any) -> None:
        sent.append(len(commands))
        real(line, *commands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Line, "send", send)
        run_step(runtime, request, lambda node, seen, context: 1, execution, "a", plan.key)
    assert sent[-1] == 2 and set(sent[:-1]) == {1}
    assert redis.llen("other") == 1


@pytest.mark.parametrize(("waiting", "done"), [(0, 12), (1, 5)])
def test_whether_others_wait_is_asked_with_the_commit_of_the_step_before(
    settings: Settings,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
    done: int,
) -> None:
    patient = settings.model_copy(update={"handoff_slice": 60.0})
    monkeypatch.setattr("orch.tasks.turn.AHEAD", 60.0)
    with Orchestrator(patient) as orchestrator:
        orchestrator.define_workflow("quick", QUICK)
        ask_ahead(orchestrator, redis, monkeypatch, waiting, done)


def ask_ahead(
    orchestrator: Orchestrator,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
    done: int,
) -> None:
    names = [f"s{number}" for number in range(12)]
    steps: list[dict[str, Any]] = [{"id": name, "capability": "quick"} for name in names]
    for step, following in zip(steps, names[1:], strict=False):
        step["next"] = following
    orchestrator.define_workflow("twelve", {"name": "twelve", "steps": steps})
    execution = orchestrator.start_workflow("twelve")
    redis.delete("quick")
    for _ in range(waiting):
        orchestrator.start_workflow("quick")
    runtime = orchestrator.runtime
    plan = runtime.plans.get(str(runtime.journal.plan_of(execution.id)))
    monkeypatch.setattr("orch.tasks.step.others_wait", lambda *_: pytest.fail("asked by itself"))
    request = SimpleNamespace(chain=None, id="0123456789ab", root_id=None)
    call: Any = lambda node, seen, context: 1  # noqa: E731
    run_step(runtime, request, call, execution.id, "s0", plan.key)
    assert committed(execution) == done
    assert redis.llen("quick") == (0 if done == 12 else waiting + 1)


# --- what the main process is told -----------------------------------------------------------


def test_the_main_process_knows_which_token_a_process_of_its_pool_has_in_hand() -> None:
    tokens = DrawnTokens()
    assert tokens.note(ROWS + 3, "x1 each[3]/a") and tokens.note(5, "x2 b")
    own = os.getpid()
    assert list(tokens.read()) == [(own, "x1", "each[3]/a", False), (own, "x2", "b", False)]
    tokens.clear(3)
    tokens.wait(5, True)
    assert list(tokens.read()) == [(own, "x2", "b", True)]


def test_what_a_process_had_in_hand_that_is_gone_is_in_no_hand_any_more() -> None:
    tokens, own = DrawnTokens(), os.getpid()
    assert tokens.note(0, "x1 a") and tokens.note(1, "x2 b")
    assert tokens.take(own + 1) == tokens.take(None) == []
    assert tokens.take(own) == [(own, "x1", "a", False), (own, "x2", "b", False)]
    assert list(tokens.read()) == []


def test_a_token_that_is_too_long_to_be_told_is_not_taken() -> None:
    tokens = DrawnTokens()
    assert not tokens.note(0, "x" * BYTES)
    assert list(tokens.read()) == []


# --- workers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"ORCH_PIPELINE_DEPTH": "1"}, {"USE_FAST_LOCALS": "1"}])
def test_a_backlog_is_done_by_a_few_messages_of_the_main_process(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], given: dict[str, str]
) -> None:
    executions = begin(orchestrator, "quick", COUNT)
    with staff(**given):
        all_end(executions)
        assert 0 < carried(orchestrator, "quick") < COUNT / 2
    assert {committed(each) for each in executions} == {1}


@pytest.mark.parametrize("off", ["handoff", "broker_acks"])
def test_each_message_is_carried_where_steps_are_not_handed_on_or_messages_are_acknowledged(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], off: str
) -> None:
    given = {"handoff": {"ORCH_HANDOFF": "off"}, "broker_acks": {"ORCH_BROKER_ACKS": "1"}}[off]
    executions = begin(orchestrator, "quick", COUNT // 4)
    with staff(**given):
        all_end(executions)
        assert carried(orchestrator, "quick") == COUNT // 4


def test_those_who_watch_see_each_message(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses]
) -> None:
    executions = begin(orchestrator, "quick", COUNT // 4)
    with staff(events=True):
        all_end(executions)
        assert carried(orchestrator, "quick") == COUNT // 4


def test_messages_with_a_time_limit_are_carried_and_the_others_drawn(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses]
) -> None:
    steps = [{"id": "a", "capability": "quick", "timeout": 10_000}]
    orchestrator.define_workflow("timed", {"name": "timed", "steps": steps})
    executions = []
    for _ in range(10):
        executions += begin(orchestrator, "quick", 19) + begin(orchestrator, "timed", 1)
    with staff():
        all_end(executions)
        assert 10 <= carried(orchestrator, "quick") < 100
    assert {committed(each) for each in executions} == {1}


def test_what_is_no_message_of_ours_is_left_to_celery(
    orchestrator: Orchestrator, lists: Lists, redis: Redis
) -> None:
    drawing = Drawing(orchestrator.runtime, lists)
    carrier = SimpleNamespace(id="0123456789ab", hostname="me")
    for text in ("[]", "{", "7", '{"headers": {"task": "orch.quick"}}'):
        redis.lpush("quick", text)
        assert drawing.take("quick", time.monotonic(), carrier, ALONE) is None
        assert redis.rpop("quick") == text


def test_a_redis_that_refuses_is_not_asked_again(
    orchestrator: Orchestrator, lists: Lists, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    drawing = Drawing(orchestrator.runtime, lists)
    carrier = SimpleNamespace(id="0123456789ab", hostname="me")
    redis.set("quick", "no list", ex=60)
    assert drawing.take("quick", time.monotonic(), carrier, ALONE) is None
    assert not drawing._on
    assert "Redis does not let messages be taken from the list 'quick'" in caplog.text


def test_steps_that_take_long_are_carried_one_by_one(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses]
) -> None:
    executions = begin(orchestrator, "slow", 20)
    with staff():
        all_end(executions)
        assert carried(orchestrator, "slow") == 20


def test_another_queue_of_the_worker_does_not_wait_for_the_backlog_of_one(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses]
) -> None:
    backlog = begin(orchestrator, "quick", 5 * COUNT)
    others = begin(orchestrator, "other", 5)
    with staff():
        all_end([*others, *backlog])
    ends = sorted(each.history()[-1].at for each in backlog)
    last = max(each.history()[-1].at for each in others)
    assert last < ends[len(ends) // 2], "the others had to wait for half of the backlog"


def test_a_process_that_is_killed_with_a_drawn_message_in_hand_is_missed_at_once(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], tmp_path: Path
) -> None:
    victim_at = COUNT // 2
    before = begin(orchestrator, "quick", victim_at)
    (victim,) = begin(orchestrator, "quick", 1, once=str(tmp_path / "killed"))
    behind = begin(orchestrator, "quick", victim_at)
    with staff():
        all_end([*before, victim, *behind])
        assert carried(orchestrator, "quick") < COUNT
    claims = [entry.at for entry in victim.history() if entry.event == "claimed"]
    assert len(claims) == 2 and committed(victim) == 1
    assert claims[1] - claims[0] < 2000, "only its lease was missed"


def test_a_message_that_was_drawn_by_a_process_that_died_is_sent_again(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], tmp_path: Path
) -> None:
    armed = tmp_path / "drawn"
    executions = begin(orchestrator, "quick", COUNT)
    with staff(ORCH_FAULT_POINT=f"drawn:{armed}", ORCH_DISPATCH_GRACE="1"):
        all_end(executions)
    assert armed.exists(), "nobody has drawn a message"
    assert {committed(each) for each in executions} == {1}


def test_a_worker_that_is_told_to_end_draws_nothing_more(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], wait_until: Wait
) -> None:
    executions = begin(orchestrator, "quick", 10 * COUNT)
    workers = staff()
    with workers:
        wait_until(lambda: any(each.status().status == "completed" for each in executions[:5]))
        (process,) = workers.processes
        told = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - told < 15
    running = [each for each in executions if each.status().status == "running"]
    left = orchestrator.runtime.journal.redis.llen("quick")
    assert left == len(running) > 0, "messages were lost on its way out"
