"""Who waits for the end of an execution is told of it, and asks seldom."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Execution, Orchestrator
from orch.control import waiting
from orch.control.runtime import Runtime
from orch.errors import ExecutionFailed, NotFound, WaitTimeout
from orch.journal.ends import MOST_KEPT, EndLine, Ends
from orch.settings import Settings
from tests.build import parallel, task
from tests.conftest import wait_for
from tests.played import Played

NEVER = 3600.0


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "work"}]})
        yield made


@pytest.fixture
def looks(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Executions that were asked for, one for each time. Nobody looks because time has passed."""
    found: list[str] = []
    real = orchestrator.manager.ended
    monkeypatch.setattr(waiting, "LOOK", NEVER)
    monkeypatch.setattr(orchestrator.manager, "ended", lambda id: (found.append(id), real(id))[1])
    return found


def listeners(redis: Redis) -> list[dict[str, str]]:
    """Connections that hear something."""
    return [each for each in redis.client_list(_type="pubsub") if int(each["sub"])]


def heard(redis: Redis, execution: str) -> bool:
    """Whether somebody listens to the channel of its end."""
    return bool(redis.pubsub_channels(f"*{execution}"))


@pytest.fixture
def waits(redis: Redis) -> Iterator[Callable[[Execution], Future[Any]]]:
    """Begin to wait for an execution in a thread; comes back when it listens."""
    pool = ThreadPoolExecutor(16)

    def begin(execution: Execution, timeout: float | None = 60.0) -> Future[Any]:
        found = pool.submit(execution.wait, timeout)
        wait_for(lambda: heard(redis, execution.id) or found.done())
        return found

    yield begin
    pool.shutdown()


@pytest.mark.parametrize("end", ["terminate", "cancel"])
def test_who_waits_is_told_and_does_not_look_until_then(
    orchestrator: Orchestrator, looks: list[str], waits: Any, end: str
) -> None:
    execution = orchestrator.start_workflow("w")
    waiting_for = waits(execution)
    wait_for(lambda: looks == [execution.id])  # once, when it listened
    getattr(execution, end)()
    assert waiting_for.result(20).status == "cancelled"
    assert looks == [execution.id]


def test_the_next_one_that_waits_on_the_same_connection_looks_no_more_often(
    orchestrator: Orchestrator, looks: list[str], waits: Any
) -> None:
    for _ in range(3):
        execution = orchestrator.start_workflow("w")
        waiting_for = waits(execution)
        wait_for(lambda: execution.id in looks)  # noqa: B023
        execution.terminate()
        assert waiting_for.result(20).status == "cancelled"
        assert looks.count(execution.id) == 1


def test_one_that_has_ended_is_no_matter_of_being_told(
    orchestrator: Orchestrator, looks: list[str]
) -> None:
    execution = orchestrator.start_workflow("w")
    execution.terminate()
    assert execution.wait(0).status == "cancelled"
    assert execution.wait(60).status == "cancelled"
    assert execution.wait().status == "cancelled"


def test_the_time_is_over_when_it_is_over(orchestrator: Orchestrator) -> None:
    execution = orchestrator.start_workflow("w")
    for timeout in (0, 0.05):
        with pytest.raises(WaitTimeout, match=f"within {timeout:g} s"):
            execution.wait(timeout)


def test_the_same_word_about_another_database_ends_nothing(
    orchestrator: Orchestrator, redis: Redis, looks: list[str], waits: Any
) -> None:
    """What is published is heard in all databases of a Redis."""
    execution = orchestrator.start_workflow("w")
    waiting_for = waits(execution)
    channel = orchestrator.runtime.journal.keys.record(execution.id)
    asked: list[str] = []
    real = orchestrator.manager.status
    orchestrator.manager.status = lambda id: (asked.append(id), real(id))[1]  # type: ignore
    assert redis.publish(channel, "ended") == 1
    wait_for(lambda: asked == [execution.id])
    assert not waiting_for.done()
    execution.terminate()
    assert waiting_for.result(20).status == "cancelled"


def test_a_connection_that_breaks_is_replaced(
    orchestrator: Orchestrator, redis: Redis, looks: list[str], waits: Any
) -> None:
    execution = orchestrator.start_workflow("w")
    waiting_for = waits(execution)
    for _ in range(3):
        before = len(looks)
        redis.client_kill_filter(_type="pubsub")
        wait_for(lambda: len(looks) > before and heard(redis, execution.id))  # noqa: B023
    execution.terminate()
    assert waiting_for.result(20).status == "cancelled"


def test_who_may_not_listen_looks_often(
    orchestrator: Orchestrator, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what ends, ends, though the script may not publish."""
    redis.acl_setuser(
        "quiet", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"],
        reset_channels=True, reset=True,
    )  # fmt: skip
    monkeypatch.setattr(waiting, "LOOK", NEVER)
    host = redis_url.rpartition("@")[2]
    try:
        with Orchestrator(redis_url=f"redis://quiet:pw@{host}") as quiet, ThreadPoolExecutor() as p:
            execution = quiet.start_workflow("w")
            waiting_for = p.submit(execution.wait, 60.0)
            wait_for(lambda: quiet.runtime.ends.refused)
            execution.terminate()
            assert waiting_for.result(20).status == "cancelled"
            with pytest.raises(WaitTimeout):
                quiet.start_workflow("w").wait(0.05)
    finally:
        redis.acl_deluser("quiet")


def test_a_connection_is_kept_for_the_next_one_that_waits_and_not_many(
    orchestrator: Orchestrator, redis: Redis, waits: Any
) -> None:
    def ends(count: int) -> None:
        executions = [orchestrator.start_workflow("w") for _ in range(count)]
        waiting_for = [waits(execution) for execution in executions]
        for execution in executions:
            execution.terminate()
        for each in waiting_for:
            assert each.result(20).status == "cancelled"

    ends(1)
    kept = [each["id"] for each in listeners(redis)]
    for _ in range(3):
        ends(1)
    assert [each["id"] for each in listeners(redis)] == kept
    ends(MOST_KEPT + 5)
    wait_for(lambda: len(listeners(redis)) <= MOST_KEPT)


async def _waited(settings: Settings, redis: Redis, count: int, break_it: bool) -> list[str]:
    async with AsyncOrchestrator(settings) as orchestrator:
        executions = [await orchestrator.start_workflow("w") for _ in range(count)]
        waiting_for = [asyncio.create_task(each.wait(60)) for each in executions]

        async def all_are_heard() -> None:
            while not all(heard(redis, each.id) for each in executions):
                await asyncio.sleep(0.01)

        await all_are_heard()
        assert len(listeners(redis)) == 1
        if break_it:
            redis.client_kill_filter(_type="pubsub")
            await all_are_heard()
        for each in executions:
            await each.terminate()
        return [(await each).status for each in waiting_for]


@pytest.mark.parametrize("break_it", [False, True])
def test_coroutines_share_one_connection_and_hold_no_thread(
    orchestrator: Orchestrator,
    settings: Settings,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    break_it: bool,
) -> None:
    monkeypatch.setattr(waiting, "LOOK", NEVER)
    before = threading.active_count()
    ended = asyncio.run(_waited(settings, redis, 100, break_it))
    assert ended == ["cancelled"] * 100
    assert threading.active_count() - before < 40


class SlowLines:
    """Connections that listen are made when ``go`` is set. ``kept``: those for the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.made: list[EndLine] = []
        self.kept: list[EndLine] = []
        make, keep = EndLine.__init__, Ends.keep

        def make_slowly(line: EndLine, pool: Any) -> None:
            self.begun.set()
            assert self.go.wait(20)
            make(line, pool)
            self.made.append(line)

        def keep_and_note(ends: Ends, line: EndLine) -> None:
            keep(ends, line)
            self.kept.append(line)

        monkeypatch.setattr(EndLine, "__init__", make_slowly)
        monkeypatch.setattr(Ends, "keep", keep_and_note)


async def _cancelled(settings: Settings, lines: SlowLines) -> str:
    async with AsyncOrchestrator(settings) as orchestrator:
        execution = await orchestrator.start_workflow("w")
        first = asyncio.create_task(execution.wait(60))
        await asyncio.to_thread(lines.begun.wait, 20)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        lines.go.set()
        await asyncio.to_thread(wait_for, lambda: lines.kept)
        second = asyncio.create_task(execution.wait(60))
        await asyncio.sleep(0)
        await execution.terminate()
        return (await second).status


def test_a_coroutine_that_is_cancelled_while_it_connects_leaves_the_connection_to_the_next(
    orchestrator: Orchestrator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = SlowLines(monkeypatch)
    assert asyncio.run(_cancelled(settings, lines)) == "cancelled"
    assert len(lines.made) == 1


async def _too_late(settings: Settings) -> None:
    async with AsyncOrchestrator(settings) as orchestrator:
        execution = await orchestrator.start_workflow("w")
        for timeout in (0, 0.05):
            with pytest.raises(WaitTimeout):
                await execution.wait(timeout)
        await execution.terminate()
        assert (await execution.wait(0)).status == "cancelled"


def test_the_time_of_a_coroutine_is_over_when_it_is_over(
    orchestrator: Orchestrator, settings: Settings
) -> None:
    asyncio.run(_too_late(settings))


@pytest.mark.parametrize(
    "steps",
    [
        [task("a", "b"), task("b")],
        [parallel("p", [task("a")], [task("b")])],
        [task("a", output={"n": "$.output"})],
    ],
    ids=["at its last step", "behind a join", "with more to tell"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_it_is_said_once_however_it_ends(
    redis: Redis, settings: Settings, redis_url: str, steps: list[dict[str, Any]], fails: bool
) -> None:
    def act(path: str, item: Any) -> Any:
        if fails:
            raise ValueError(path)
        return item

    runtime = Runtime(settings, redis_url)
    said = redis.pubsub(ignore_subscribe_messages=True)
    said.psubscribe("*:x1")
    played = Played(runtime, *steps, input="a")
    played.act = act
    played.run()
    assert played.journal.record("x1").status == ("failed" if fails else "completed")
    found: list[Any] = []
    wait_for(lambda: (found.append(said.get_message()), found[-1] is not None)[1])
    assert said.get_message() is None
    assert [each["channel"] for each in found if each] == [runtime.journal.keys.record("x1")]
    said.close()
    runtime.close()


class Ways:
    """The same question, asked by a thread and by a coroutine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def thread(self, id: str, timeout: float | None = 20.0) -> Any:
        with Orchestrator(self.settings) as orchestrator:
            return orchestrator.execution(id).result(timeout)

    def coroutine(self, id: str, timeout: float | None = 20.0) -> Any:
        async def ask() -> Any:
            async with AsyncOrchestrator(self.settings) as orchestrator:
                return await orchestrator.execution(id).result(timeout)

        return asyncio.run(ask())


@pytest.mark.parametrize("way", ["thread", "coroutine"])
def test_the_result_is_the_output_or_why_there_is_none(
    redis: Redis, settings: Settings, redis_url: str, way: str
) -> None:
    ask = getattr(Ways(settings), way)
    runtime = Runtime(settings, redis_url)
    played = Played(runtime, task("a"), input={"n": 1})
    with pytest.raises(WaitTimeout):
        ask("x1", 0.05)
    played.act = lambda path, item: {"n": 2}
    played.run()
    assert ask("x1") == {"n": 2}
    runtime.journal.redis.flushdb()

    played = Played(runtime, task("a"))

    def fail(path: str, item: Any) -> Any:
        raise ValueError("no such file")

    played.act = fail
    played.run()
    with pytest.raises(ExecutionFailed, match="x1 failed: ValueError: no such file") as failed:
        ask("x1")
    assert failed.value.status == "failed" and failed.value.error["name"] == "ValueError"
    with pytest.raises(NotFound, match="no execution 'x2'"):
        ask("x2")
    runtime.close()


def test_the_result_of_what_was_cancelled_says_so(orchestrator: Orchestrator) -> None:
    execution = orchestrator.start_workflow("w")
    execution.terminate("not needed")
    with pytest.raises(ExecutionFailed, match=r"was cancelled: .*not needed") as cancelled:
        execution.result()
    assert cancelled.value.status == "cancelled"


def test_every_script_with_which_one_may_end_says_so() -> None:
    """But for that which starts it, since nobody can wait before, and for what is restored."""
    folder = resources.files("orch.journal") / "lua"
    for entry in folder.iterdir():
        if entry.name.endswith(".lua") and entry.name not in ("start.lua", "restore.lua"):
            text = entry.read_text()
            ends = len(re.findall(r"^ *expire\(keep\)$", text, re.MULTILINE))
            assert len(re.findall(r"^ *say_ended\(\)$", text, re.MULTILINE)) == ends, entry.name
            assert ends == 0 or " say_ended" in text.partition("local ")[0]
