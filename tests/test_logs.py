"""What a step logs is kept with its execution, so much of it, and for as long."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.agents.context import Context
from orch.cli.app import run_command
from orch.control.archive import Archive
from orch.control.logs import read_logs
from orch.control.plans import Plans
from orch.control.runtime import Runtime
from orch.control.transfer import Transfer
from orch.errors import InputError, NotFound, StepError
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.tasks import report
from orch.tasks.report import Report
from orch.workflows.logged import LogLine
from orch.workflows.state import ExecutionStatus
from tests.build import start, task
from tests.played import Played

Make = Callable[..., Runtime]


@pytest.fixture
def make(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Make]:
    made: list[Runtime] = []

    def runtime(**given: Any) -> Runtime:
        made.append(Runtime(settings.model_copy(update=given), redis_url))
        return made[-1]

    yield runtime
    for each in made:
        each.close()


def played(runtime: Runtime, act: Callable[[Context], Any], *steps: dict[str, Any]) -> Played:
    """Do all of a workflow; ``act`` is the code of each of its steps."""
    worker = Played(runtime, *(steps or [task("a")]))
    worker.call = lambda node, seen, context: act(context)  # type: ignore[method-assign]
    worker.run()
    return worker


def kept(journal: Journal, *args: Any) -> list[tuple[str, str]]:
    return [(line.path, line.text) for line in read_logs(journal, "x1", *args)]


def test_lines_are_kept_by_step_in_their_order(make: Make) -> None:
    runtime = make()

    def act(context: Context) -> None:
        context.log.info("begin %s", context.path)
        context.log.debug("not this one")
        context.log.warning("slow", extra={"ms": 7})

    played(runtime, act, task("a", "b"), task("b"))
    assert kept(runtime.journal) == [
        ("a", "begin a"),
        ("a", "slow"),
        ("b", "begin b"),
        ("b", "slow"),
    ]
    assert kept(runtime.journal, "b", "warning") == [("b", "slow")]
    last = list(read_logs(runtime.journal, "x1"))[-1]
    assert (last.level, last.fields, last.attempt) == ("warning", {"ms": 7}, 1)


def test_the_worker_s_own_log_hears_of_them_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "orch.step"):
        Context(path="a", keep_line=lambda *_: None).log.info("hello %d", 1)
    assert caplog.records[0].message == "local a #1: hello 1"
    assert caplog.records[0].filename == Path(__file__).name


def test_a_step_that_logs_nothing_sends_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "keep_lines", lambda *_: pytest.fail("it was called"))
    worker = played(make(), lambda context: None)
    assert worker.worked.status() is ExecutionStatus.COMPLETED
    assert not worker.journal.redis.exists(worker.journal.keys.logs("x1"))


def test_a_step_that_fails_leaves_its_lines_and_the_stack(make: Make) -> None:
    runtime = make()

    def act(context: Context) -> None:
        try:
            raise ValueError("bad row")
        except ValueError:
            context.log.exception("row %d", 3)
        raise StepError("Broken", "it broke")

    played(runtime, act)
    [(_, text)] = kept(runtime.journal)
    assert text.startswith("row 3\nTraceback") and text.endswith("ValueError: bad row")


def test_lines_are_seen_while_the_step_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(report, "PAUSE", 0.01)
    runtime = make()

    def act(context: Context) -> None:
        context.log.info("half")
        wait_until(lambda: kept(runtime.journal) == [("a", "half")])

    assert played(runtime, act).worked.status() is ExecutionStatus.COMPLETED
    assert kept(runtime.journal) == [("a", "half")]


def test_of_an_attempt_that_logs_too_much_the_first_and_the_last_are_kept(make: Make) -> None:
    runtime = make(log_lines=3)

    def act(context: Context) -> None:
        for number in range(100):
            context.log.info("%d", number)

    played(runtime, act)
    texts = [text for _, text in kept(runtime.journal)]
    assert texts[:3] == ["0", "1", "2"]
    assert texts[3].startswith("47 lines are not kept: ORCH_LOG_LINES")
    assert texts[4:] == [str(number) for number in range(50, 100)]


def test_a_long_line_is_cut_and_its_bytes_are_counted(make: Make) -> None:
    runtime = make(log_bytes=10_000)

    def act(context: Context) -> None:
        for _ in range(4):
            context.log.info("x" * 5000 + "\ud800", extra={"huge": "y" * 9000, "odd": {1, 2}})

    played(runtime, act)
    lines = list(read_logs(runtime.journal, "x1"))
    assert len(lines) == 4  # two within the bytes, two as the last ones
    assert all(line.text.endswith("… (905 characters more)") for line in lines)
    assert all(len(line.fields) < 5000 for line in lines)


def test_of_an_execution_the_oldest_lines_make_room(make: Make) -> None:
    runtime = make(log_bytes_of_execution=1000)

    def act(context: Context) -> None:
        for number in range(20):
            context.log.info("line %d", number)

    played(runtime, act)
    texts = [text for _, text in kept(runtime.journal)]
    assert texts[-1] == "line 19" and 5 < len(texts) < 10
    total = int(runtime.journal.redis.hget(runtime.journal.keys.record("x1"), "logged") or 0)
    assert 0 < total <= 1000


def test_lines_that_were_sent_twice_are_read_once(journal: Journal) -> None:
    start(journal, task("a"))
    lines = [LogLine(1, "a", 1, number, "info", str(number)) for number in (1, 2)]
    for _ in range(2):
        assert journal.keep_lines("x1", lines)
    again = [LogLine(1, "a", 1, 3, "info", "3")]  # of another attempt of the same number
    journal.keep_lines("x1", again)
    assert [line.text for _, line in journal.read_lines("x1")] == ["1", "2", "3"]


def test_more_lines_than_are_read_at_once(journal: Journal) -> None:
    start(journal, task("a"))
    count = 2345
    journal.keep_lines("x1", [LogLine(1, "a", 1, n, "info", "") for n in range(1, count + 1)])
    assert [line.number for _, line in journal.read_lines("x1")] == list(range(1, count + 1))


class TestTheirEnd:
    def test_they_expire_with_the_execution_also_those_that_come_late(
        self, journal: Journal
    ) -> None:
        worked = start(journal, task("a"))
        attempt = Report(journal, "x1", "a", 1)
        attempt.keep_line(logging.INFO, "one", {})
        attempt.end()
        key = journal.keys.logs("x1")
        assert journal.redis.pttl(key) == -1
        worked.do("a")
        assert 0 < journal.redis.pttl(key) <= journal.keep
        journal.redis.delete(key)
        attempt.keep_line(logging.INFO, "two", {})
        attempt.end()
        assert 0 < journal.redis.pttl(key) <= journal.keep

    def test_nothing_is_kept_of_one_that_is_gone(self, journal: Journal) -> None:
        assert not journal.keep_lines("x9", [LogLine(1, "a", 1, 1, "info", "")])
        assert not journal.redis.exists(journal.keys.logs("x9"))

    def test_one_that_is_retried_keeps_them(self, redis: Redis, settings: Settings) -> None:
        journal = Journal(redis, settings)
        worked = start(journal, task("a"))
        journal.keep_lines("x1", [LogLine(1, "a", 1, 1, "info", "before")])
        worked.fail("a")
        with Orchestrator(settings) as orchestrator:
            assert orchestrator.retry_workflow("x1")
            assert journal.redis.pttl(journal.keys.logs("x1")) == -1
            assert [line.text for line in orchestrator.get_logs("x1")] == ["before"]
            orchestrator.terminate_workflow("x1")

    def test_they_go_into_the_archive_and_come_back(self, journal: Journal, tmp_path: Path) -> None:
        worked = start(journal, task("a"))
        journal.keep_lines("x1", [LogLine(7, "a", 1, 1, "info", "é", {"n": 1})])
        worked.do("a")
        transfer = Transfer(journal, Plans(journal))
        transfer.write(tmp_path / "all.jsonl", ["x1"], {})
        snapshot = journal.snapshot("x1")
        assert snapshot is not None and journal.forget(snapshot)
        assert not journal.redis.exists(journal.keys.logs("x1"))
        transfer.read(tmp_path / "all.jsonl")
        [line] = read_logs(journal, "x1")
        assert (line.text, line.fields) == ("é", {"n": 1})
        assert 0 < journal.redis.pttl(journal.keys.logs("x1")) <= journal.keep

    def test_the_archive_leaves_none_behind(
        self, redis: Redis, settings: Settings, tmp_path: Path
    ) -> None:
        keeping = settings.model_copy(update={"archive_dir": tmp_path, "retention": 0.001})
        journal = Journal(redis, keeping)
        worked = start(journal, task("a"))
        journal.keep_lines("x1", [LogLine(7, "a", 1, 1, "info", "one")])
        worked.do("a")
        assert journal.redis.pttl(journal.keys.logs("x1")) == -1
        assert Archive(journal, tmp_path).run(all=True).executions == 1
        assert not journal.redis.exists(journal.keys.logs("x1"))


class TestAsking:
    def test_by_the_command_line(
        self, redis: Redis, settings: Settings, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        journal = Journal(redis, settings)
        worked = start(journal, task("a", "b"), task("b"))
        for path in ("a", "a/0/c", "ab"):
            line = LogLine(1_750_000_000_000, path, 2, 1, "info", f"of {path}", {"n": 1})
            journal.keep_lines("x1", [line])
        worked.do("a")
        worked.do("b")
        assert run_command(["logs", "x1", "a", "--redis", redis_url]) == 0
        assert capsys.readouterr().out.splitlines() == [
            '2025-06-15T15:06:40.000+00:00  info      a #2  of a  {"n": 1}',
            '2025-06-15T15:06:40.000+00:00  info      a/0/c #2  of a/0/c  {"n": 1}',
        ]
        command = ["logs", "x1", "--follow", "--json", "--level", "info", "--redis", redis_url]
        assert run_command(command) == 0
        found = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        assert [line["path"] for line in found] == ["a", "a/0/c", "ab"]

    async def _followed(self, settings: Settings) -> list[str]:
        orchestrator = AsyncOrchestrator(settings)
        try:
            return [line.text async for line in orchestrator.get_logs("x1", follow=True)]
        finally:
            await orchestrator.close()

    def test_one_may_follow_until_the_end(self, redis: Redis, settings: Settings) -> None:
        journal = Journal(redis, settings)
        worked = start(journal, task("a"))

        def work() -> None:
            for number in range(3):
                journal.keep_lines("x1", [LogLine(1, "a", 1, number + 1, "info", str(number))])
            worked.do("a")

        thread = threading.Timer(0.2, work)
        thread.start()
        assert asyncio.run(self._followed(settings)) == ["0", "1", "2"]
        thread.join()

    def test_what_there_is_not_is_said(self, journal: Journal) -> None:
        with pytest.raises(NotFound):
            read_logs(journal, "nobody")
        start(journal, task("a"))
        with pytest.raises(InputError, match="'loud' is no level"):
            read_logs(journal, "x1", None, "loud")
        assert kept(journal) == []
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
