"""Fibers that ask Redis together, and workers that have several messages in hand at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from orch import Orchestrator
from orch.control.workers import WorkerProcesses
from orch.execution import Execution
from orch.journal.pipelining import Fiber, Pipeline
from orch.journal.wire import Wire
from orch.settings import Settings

Wait = Callable[..., Any]


class Said:
    """What a pipeline told of its fibers, and what it let go of."""

    def __init__(self) -> None:
        self.waits: dict[int, bool] = {}
        self.let_go: list[int] = []
        self.fails = 0

    def tell(self, fiber: Fiber, waits: bool) -> None:
        self.waits[fiber.number] = waits

    def give_back(self, fiber: Fiber) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("Redis is away")
        fiber.pipeline.ask_for(fiber)
        self.let_go.append(fiber.number)


@pytest.fixture
def wire(redis: Redis) -> Wire:
    return Wire(redis)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def pipeline(wire: Wire, said: Said) -> Pipeline:
    return Pipeline(wire, range(3, 7), told=said.tell, let_go=said.give_back)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands went in each write."""
    from orch.journal.wire import _Line

    found: list[int] = []
    real = _Line.send

    def send(self: Any, *commands: Any) -> None:
        found.append(len(commands))
        real(self, *commands)

    monkeypatch.setattr(_Line, "send", send)
    return found


def widening(work: Callable[[Fiber], None]) -> Callable[[Fiber], None]:
    """Have as many fibers as there may be, before one of them begins."""

    def begin(fiber: Fiber) -> None:
        while fiber.pipeline.count < 4:
            fiber.pipeline.widen()
        work(fiber)

    return begin


# --- fibers ----------------------------------------------------------------------------------


def test_what_several_fibers_ask_goes_in_one_write_and_each_gets_its_own_answers(
    wire: Wire, pipeline: Pipeline, writes: list[int], redis: Redis
) -> None:
    found: dict[int, list[Any]] = {}

    def work(fiber: Fiber) -> None:
        key = f"of {fiber.number}"
        wire.execute_command("SET", key, fiber.number, "EX", 60)
        found[fiber.number] = [
            wire.execute_command("INCR", key),
            *wire.read_all(("GET", key), ("STRLEN", key)),
            wire.execute_first(("GET", key), ("INCR", key)),
            wire.execute_command("GET", key),
        ]

    pipeline.run(widening(work))
    assert found == {n: [n + 1, str(n + 1), 1, str(n + 1), str(n + 2)] for n in (3, 4, 5, 6)}
    assert writes == [4, 4, 8, 8, 4]
    assert pipeline.count == 0 and wire.pipeline is None


def test_there_are_no_more_fibers_than_there_may_be(wire: Wire, pipeline: Pipeline) -> None:
    numbers: list[int] = []

    def work(fiber: Fiber) -> None:
        numbers.append(fiber.number)
        for _ in range(fiber.number):  # they end one by one
            if len(numbers) < 20:
                fiber.pipeline.widen()
            assert fiber.pipeline.count <= 4
            wire.execute_command("PING")

    pipeline.run(work)
    assert set(numbers) == {3, 4, 5, 6} and len(numbers) > 4, "no number was used again"


def test_the_error_that_is_an_answer_comes_where_it_was_asked_for(
    wire: Wire, pipeline: Pipeline, redis: Redis
) -> None:
    redis.set("text", "no number", ex=60)
    found: list[str] = []

    def work(fiber: Fiber) -> None:
        if fiber.number == 4:
            with pytest.raises(ResponseError, match="not an integer"):
                wire.execute_command("INCR", "text")
        found.append(wire.execute_command("GET", "text"))

    pipeline.run(widening(work))
    assert found == ["no number"] * 4


def test_the_others_go_on_when_one_fails_and_then_it_is_told(
    wire: Wire, pipeline: Pipeline
) -> None:
    ended: list[int] = []

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        if fiber.number == 4:
            raise ValueError("broken")
        wire.execute_command("PING")
        ended.append(fiber.number)

    with pytest.raises(ValueError, match="broken"):
        pipeline.run(widening(work))
    assert sorted(ended) == [3, 5, 6] and wire.pipeline is None


def test_nobody_goes_on_when_the_process_is_to_end(wire: Wire, pipeline: Pipeline) -> None:
    ended: list[int] = []

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        if fiber.number == 4:
            raise SystemExit(1)
        wire.execute_command("PING")
        ended.append(fiber.number)

    with pytest.raises(SystemExit):
        pipeline.run(widening(work))
    assert ended == [] and wire.pipeline is None


def test_what_was_asked_when_the_connection_broke_is_asked_again_on_another(
    wire: Wire, pipeline: Pipeline, redis: Redis
) -> None:
    found: list[bool] = []

    def work(fiber: Fiber) -> None:
        number = wire.execute_command("CLIENT", "ID")
        redis.client_kill_filter(_id=number)
        found.append(bool(wire.execute_command("PING")))

    pipeline.run(widening(work))
    assert found == [True] * 4


@pytest.mark.parametrize("how", ["alone", "calling"])
def test_nothing_comes_between_in_a_fiber_that_is_alone_or_calls_what_is_not_ours(
    wire: Wire, pipeline: Pipeline, writes: list[int], how: str
) -> None:
    order: list[int] = []

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        if how == "alone":
            fiber.alone = True
            for _ in range(3):
                order.append(fiber.number)
                wire.execute_command("PING")
        else:
            with fiber.calling("x", "a"):
                for _ in range(3):
                    order.append(fiber.number)
                    wire.execute_command("PING")

    pipeline.run(widening(work))
    assert order == [n for n in (3, 4, 5, 6) for _ in range(3)]
    assert writes == [4] + [1] * 12


def test_what_another_thread_asks_waits_for_no_fiber(wire: Wire, pipeline: Pipeline) -> None:
    found: list[Any] = []

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        other = threading.Thread(target=lambda: found.append(wire.execute_command("PING")))
        other.start()
        other.join(10)

    pipeline.run(widening(work))
    assert len(found) == 4 and all(found)


def test_who_waits_is_told_and_who_works_is_not(wire: Wire, pipeline: Pipeline, said: Said) -> None:
    seen: list[list[int]] = []

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        seen.append([number for number, waits in said.waits.items() if not waits])

    pipeline.run(widening(work))
    assert [len(each) for each in seen] == [1, 2, 3, 4], "those that have ended wait no more"
    assert [each[-1] for each in seen] == [3, 4, 5, 6]


# --- one that takes long ---------------------------------------------------------------------


def test_the_others_are_let_go_while_one_calls_what_takes_long(
    wire: Wire, pipeline: Pipeline, said: Said, redis: Redis, wait_until: Wait
) -> None:
    ended: list[int] = []

    def work(fiber: Fiber) -> None:
        key = f"of {fiber.number}"
        wire.execute_command("SET", key, "asked", "EX", 60)
        if fiber.number == 4:
            with fiber.calling("x", "a"):
                wait_until(lambda: len(said.let_go) == 3)
        wire.execute_command("SET", key, "went on", "EX", 60)
        ended.append(fiber.number)

    pipeline.run(widening(work))
    assert sorted(said.let_go) == [3, 5, 6] and ended == [4]
    # The first had asked already, so that was done for it; the others had not.
    values = {number: redis.get(f"of {number}") for number in (3, 4, 5, 6)}
    assert values == {3: "went on", 4: "went on", 5: "asked", 6: "asked"}


def test_they_are_let_go_later_where_that_cannot_be(
    wire: Wire,
    pipeline: Pipeline,
    said: Said,
    wait_until: Wait,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "orch")
    said.fails = 2

    def work(fiber: Fiber) -> None:
        wire.execute_command("PING")
        if fiber.number == 4:
            with fiber.calling("x", "a"):
                wait_until(lambda: len(said.let_go) == 3)
        wire.execute_command("PING")

    pipeline.run(widening(work))
    assert "what waits behind a of execution x is not given back: Redis is away" in caplog.text
    assert "a of execution x takes long: 3 that waited behind it were given back" in caplog.text


def test_many_short_calls_are_none_that_takes_long(
    wire: Wire, pipeline: Pipeline, said: Said
) -> None:
    until = time.monotonic() + 0.3

    def work(fiber: Fiber) -> None:
        while time.monotonic() < until:
            with fiber.calling("x", "a"):
                pass
            wire.execute_command("PING")

    pipeline.run(widening(work))
    assert said.let_go == []


# --- workers ---------------------------------------------------------------------------------

CODE = """
import os, pathlib, signal, time
from orch import capability

@capability("brief")
def brief(until: str | None = None, once: str | None = None, deadly: bool = False) -> int:
    while until is not None and not pathlib.Path(until).exists():
        pathlib.Path(until + ".begun").touch()
        time.sleep(0.01)
    if once is not None:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1
"""

STEPS = [
    {"id": "a", "capability": "brief", "next": "b"},
    {"id": "b", "capability": "brief", "input": "$.input", "next": "c"},
    {"id": "c", "capability": "brief"},
]
MANY = 60


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("three", {"name": "three", "steps": STEPS})
        once = [{**step, "delivery": "at_most_once"} for step in STEPS]
        made.define_workflow("once", {"name": "once", "steps": once})
        yield made


@pytest.fixture
def staff(orchestrator: Orchestrator, tmp_path: Path) -> Callable[..., WorkerProcesses]:
    code = tmp_path / "pipelined_code.py"
    code.write_text(CODE)

    def make(concurrency: int = 1, **environment: str) -> WorkerProcesses:
        given = {"ORCH_BUILTINS": "0", **environment}
        return orchestrator.workers(include=[str(code)], concurrency=concurrency, environment=given)

    return make


def begin(orchestrator: Orchestrator, name: str, count: int, **input: Any) -> list[Execution]:
    starts = [(name, input)] * count
    return [each for each in orchestrator.start_workflows(starts) if isinstance(each, Execution)]


def all_end(executions: Sequence[Execution], status: str = "completed") -> None:
    for each in executions:
        assert each.wait(60).status == status


def told(execution: Execution, event: str) -> int:
    return sum(entry.event == event for entry in execution.history())


def reads(redis: Redis) -> int:
    return int(redis.info("stats")["total_reads_processed"])


def test_a_process_that_has_several_messages_in_hand_writes_less_often(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], redis: Redis
) -> None:
    taken = {}
    for depth in ("1", "8"):
        with staff(ORCH_PIPELINE_DEPTH=depth):
            all_end(begin(orchestrator, "three", MANY))  # how long the steps take is known now
            executions = begin(orchestrator, "three", 4 * MANY)
            before = reads(redis)
            all_end(executions[-1:])
            taken[depth] = reads(redis) - before
            all_end(executions)
            assert {told(each, "completed") for each in executions} == {3}
    assert taken["8"] < 0.6 * taken["1"]


def test_what_waits_behind_a_step_that_hangs_is_done_by_others(
    orchestrator: Orchestrator,
    staff: Callable[..., WorkerProcesses],
    tmp_path: Path,
    wait_until: Wait,
) -> None:
    until = tmp_path / "go"
    with staff(concurrency=2):
        all_end(begin(orchestrator, "three", MANY))
        before = begin(orchestrator, "three", 2 * MANY)
        (hanging,) = begin(orchestrator, "three", 1, until=str(until))
        behind = begin(orchestrator, "three", 2 * MANY)
        wait_until(Path(f"{until}.begun").exists)
        all_end([*before, *behind])
        assert hanging.status().status == "running"
        until.touch()
        all_end([hanging])
    for each in (*before, *behind, hanging):
        assert told(each, "completed") == 3 and told(each, "lost") == 0


def test_nobody_else_is_to_blame_when_a_step_takes_its_process_along(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], tmp_path: Path
) -> None:
    with staff():
        all_end(begin(orchestrator, "three", MANY))
        before = begin(orchestrator, "three", MANY)
        victims = [
            begin(orchestrator, "three", 1, once=str(tmp_path / f"killed{number}"))[0]
            for number in range(3)
        ]
        behind = begin(orchestrator, "three", MANY)
        all_end([*before, *victims, *behind])
    assert [told(each, "lost") for each in victims] == [1, 1, 1]
    for each in (*before, *behind):
        assert told(each, "lost") == 0 and told(each, "completed") == 3


def test_a_step_that_kills_every_process_is_found_out_and_the_others_end_well(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses]
) -> None:
    with staff(concurrency=2):
        all_end(begin(orchestrator, "three", MANY))
        others = begin(orchestrator, "three", MANY)
        (deadly,) = begin(orchestrator, "three", 1, deadly=True)
        others += begin(orchestrator, "three", MANY)
        all_end(others)
        all_end([deadly], "failed")
    assert told(deadly, "lost") == 3
    assert {told(each, "lost") for each in others} == {0}


def test_a_step_that_may_run_once_only_is_not_lost_with_the_process_of_another(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], tmp_path: Path
) -> None:
    with staff(concurrency=2):
        all_end(begin(orchestrator, "three", MANY))
        mixed: list[Execution] = []
        for number in range(4):
            mixed += begin(orchestrator, "once", MANY // 4)
            mixed += begin(orchestrator, "three", 1, once=str(tmp_path / f"killed{number}"))
            mixed += begin(orchestrator, "once", MANY // 4)
        all_end(mixed)


def test_the_items_of_a_map_are_done_side_by_side_and_no_more_than_may_be(
    orchestrator: Orchestrator, staff: Callable[..., WorkerProcesses], redis: Redis
) -> None:
    each = {"items": "$.input.items", "capability": "brief", "maxConcurrency": 4}
    steps = [{"id": "each", "type": "map", "map": each}]
    orchestrator.define_workflow("map", {"name": "map", "steps": steps})
    items = {"items": [None] * 500}
    taken = {}
    for depth in ("1", "8"):
        with staff(ORCH_PIPELINE_DEPTH=depth):
            all_end(begin(orchestrator, "map", 2, **items))
            before = reads(redis)
            (execution,) = begin(orchestrator, "map", 1, **items)
            all_end([execution])
            taken[depth] = reads(redis) - before
            assert sum(1 for _ in execution.results("each")) == 500
    assert taken["8"] < 0.7 * taken["1"]
