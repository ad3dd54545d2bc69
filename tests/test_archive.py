"""What has been kept for long enough is on the disk before it leaves Redis, whatever dies."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch.cli.app import run_command
from orch.control import archive as module
from orch.control.archive import Archive
from orch.control.plans import Plans
from orch.control.search import Search
from orch.control.starting import make_start
from orch.control.transfer import Transfer
from orch.errors import ArchiveError
from orch.journal.journal import Journal
from orch.orchestrator import Orchestrator
from orch.settings import Settings
from orch.workflows.reopening import Reopening
from orch.workflows.state import ExecutionStatus
from tests.build import FakeClock, Worked, start, task

DAY = 86_400_000


@pytest.fixture
def keeping(journal: Journal, tmp_path: Path) -> Journal:
    """A journal of a process that knows of an archive."""
    settings = journal.settings.model_copy(update={"archive_dir": tmp_path / "archive"})
    return Journal(journal.redis, settings, url=journal.url, clock=journal.clock)


@pytest.fixture
def archive(keeping: Journal) -> Archive:
    assert keeping.settings.archive_dir is not None
    return Archive(keeping, keeping.settings.archive_dir)


def ended(journal: Journal, count: int = 3) -> Worked:
    """Executions that are cancelled, and one that runs; the definition is stored."""
    worked = start(journal, task("a"))
    Plans(journal).store("w", worked.plan.definition, {})
    for n in range(count):
        journal.start(make_start(journal, worked.plan, "w", f"n{n}", '{"n":1}'))
        journal.end(f"n{n}", ExecutionStatus.CANCELLED, {"name": "Cancelled", "message": "ü"})
    return worked


def lines(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return [json.loads(line) for line in content.splitlines()]


def executions_in(path: Path) -> list[str]:
    return sorted(line["execution"] for line in lines(path) if "execution" in line)


def keys_of(journal: Journal, execution: str) -> list[str]:
    return sorted(journal.redis.scan_iter(match=f"*:[xsihm]:{execution}"))


class TestArchiving:
    def test_it_takes_what_was_kept_and_leaves_nothing_behind(
        self, keeping: Journal, archive: Archive, clock: FakeClock
    ) -> None:
        ended(keeping)
        assert {keeping.redis.pttl(key) for key in keys_of(keeping, "n0")} == {-1}
        assert archive.run().executions == 0
        clock.advance(keeping.keep - 1)
        assert archive.run().executions == 0
        clock.advance(1)
        assert archive.run().executions == 3
        [path] = archive.directory.glob("executions-*.jsonl")
        assert path.name == "executions-2025-06-22.jsonl"
        assert executions_in(path) == ["n0", "n1", "n2"]
        found = lines(path)
        assert [next(iter(line)) for line in found] == ["definition", "plan", *["execution"] * 3]
        assert found[2]["record"]["input"] == {"n": 1}
        assert found[2]["history"][-1][1] == "ended"
        for n in range(3):
            assert keys_of(keeping, f"n{n}") == []
        index = [keeping.redis.zrange(keeping.keys.index(n), 0, -1) for n in range(64)]
        assert all(member.endswith("x1") for members in index for member in members)
        assert archive.run().executions == 0
        keeping.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
        keeping.redis.delete(*keys_of(keeping, "x1"))

    def test_a_day_that_is_over_is_compressed(
        self, keeping: Journal, archive: Archive, clock: FakeClock
    ) -> None:
        ended(keeping, 1)
        archive.run(all=True)
        [path] = archive.directory.glob("*.jsonl")
        # Somebody died between the two files of a day: both are kept, in one.
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(b'{"execution":"before"}\n'))
        clock.advance(DAY)
        archive.run(all=True)
        [packed] = archive.directory.glob("executions-*")
        assert packed.name == f"{path.name}.gz" and executions_in(packed) == ["before", "n0"]

    def test_those_of_a_process_without_an_archive_are_held(
        self, journal: Journal, keeping: Journal, archive: Archive
    ) -> None:
        ended(journal)
        assert keeping.redis.pttl(keeping.keys.record("n0")) > 0
        assert (archive.hold(), archive.hold()) == (3, 0)
        assert {keeping.redis.pttl(key) for key in keys_of(keeping, "n0")} == {-1}
        assert archive.run(all=True).executions == 3

    def test_one_that_is_retried_meanwhile_is_not_forgotten(
        self, keeping: Journal, archive: Archive
    ) -> None:
        worked = start(keeping, task("a"))
        worked.fail("a")
        snapshot = keeping.snapshot("x1")
        assert snapshot is not None and snapshot.ended
        keeping.retry("x1", Reopening(), error="Broken")
        assert not keeping.forget(snapshot)
        assert keeping.status("x1") is ExecutionStatus.RUNNING

    def test_one_is_at_it_at_a_time(self, keeping: Journal, archive: Archive) -> None:
        ended(keeping, 1)
        assert keeping.take_archiver("another", 10_000)
        assert archive.run(all=True).busy
        keeping.leave_archiver("another")
        assert archive.run(all=True).executions == 1


class TestTrouble:
    def test_a_disk_that_is_full_loses_nothing_and_leaves_no_half_line(
        self, keeping: Journal, archive: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The real file, on which only a part of a batch finds room."""
        ended(keeping)
        archive.directory.mkdir()
        written = os.write

        def write(fd: int, data: Any) -> int:
            if len(data) > 100:
                return written(fd, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(module.os, "write", write)
        with pytest.raises(ArchiveError, match=r"No space left on device; nothing is lost"):
            archive.run(all=True)
        [path] = archive.directory.glob("executions-*")
        assert path.read_bytes() == b""
        assert keeping.snapshot("n0") is not None
        monkeypatch.undo()
        assert archive.run(all=True).executions == 3
        assert executions_in(path) == ["n0", "n1", "n2"]

    def test_a_directory_that_is_none_is_said(self, keeping: Journal, tmp_path: Path) -> None:
        ended(keeping, 1)
        (tmp_path / "file").write_text("")
        with pytest.raises(ArchiveError, match="cannot be written: Not a directory") as caught:
            Archive(keeping, tmp_path / "file" / "below").run(all=True)
        assert "make it writable" in caught.value.hint
        keeping.redis.delete(*keys_of(keeping, "n0"))

    def test_a_torn_line_is_cut_and_written_anew(self, keeping: Journal, archive: Archive) -> None:
        ended(keeping, 1)
        archive.run(all=True)
        [path] = archive.directory.glob("*.jsonl")
        whole = path.read_bytes()
        path.write_bytes(whole + b'{"execution":"torn' + b"x" * 100_000)
        keeping.start(make_start(keeping, Plans(keeping).get(lines_plan(whole)), "w", "m", "1"))
        keeping.end("m", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
        assert archive.run(all=True).executions == 1
        assert executions_in(path) == ["m", "n0"]

    def test_whoever_is_killed_between_writing_and_forgetting_loses_nothing(
        self, redis: Redis, settings: Settings, tmp_path: Path
    ) -> None:
        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
            ids = [orchestrator.start_workflow("w").id for _ in range(3)]
            for id in ids:
                orchestrator.stop_workflow(id)
        words = [sys.executable, "-m", "orch", "archive", str(tmp_path / "a"), "--all"]
        environment = {**os.environ, "ORCH_REDIS_URL": settings.redis_url or ""}
        code = (
            "import sys; from orch.cli.app import run_command; from orch.faults import arm; "
            f"arm({f'archived:{tmp_path}/killed'!r}); run_command(sys.argv[3:])"
        )
        dies = [sys.executable, "-c", code, *words[1:]]
        killed = subprocess.run(dies, env=environment, capture_output=True)
        assert killed.returncode == -signal.SIGKILL
        redis.delete("orch:archiver")  # in a minute it would be gone by itself
        done = subprocess.run([*words, "--json"], env=environment, capture_output=True)
        assert json.loads(done.stdout)["archived"] == 3, done.stderr
        [path] = (tmp_path / "a").glob("executions-*")
        assert executions_in(path) == sorted([*ids, *ids])
        with Orchestrator(settings) as orchestrator:
            assert orchestrator.list_executions() == []
            imported = orchestrator.import_executions(path)
            assert (imported.executions, imported.existed) == (3, 3)
            assert orchestrator.get_execution_status(ids[0]).status == "cancelled"


def lines_plan(content: bytes) -> str:
    return next(
        str(line["plan"]) for line in map(json.loads, content.splitlines()) if "plan" in line
    )


class TestWhoDoesIt:
    def test_a_worker_that_knows_the_directory(
        self, redis: Redis, settings: Settings, tmp_path: Path, wait_until: Callable[..., Any]
    ) -> None:
        with Orchestrator(settings) as unaware:
            unaware.define_workflow("w", {"name": "w", "steps": [task("a", condition="false")]})
            id = unaware.start_workflow("w").id
        known = settings.model_copy(
            update={"archive_dir": tmp_path / "kept", "retention": 0.5, "builtins": False}
        )
        with Orchestrator(known) as orchestrator:
            other = orchestrator.start_workflow("w").id
            with orchestrator.workers(pool="solo", concurrency=1):
                wait_until(lambda: not orchestrator.list_executions(), timeout=60)
            [path] = (tmp_path / "kept").glob("executions-*")
            assert set(executions_in(path)) == {id, other}

    def test_cron(self, redis: Redis, settings: Settings, tmp_path: Path, capsys: Any) -> None:
        where = ["--redis", settings.redis_url or ""]
        assert run_command(["archive", *where]) == 2
        assert "no directory for the archive was named" in capsys.readouterr().err
        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow(
                "w", {"name": "w", "steps": [task("a", condition="false")]}
            )
            id = orchestrator.start_workflow("w").id
        assert run_command(["archive", str(tmp_path), "--json", *where]) == 0
        assert json.loads(capsys.readouterr().out) == {"archived": 0, "held": 1, "busy": False}
        assert run_command(["archive", str(tmp_path), "--all", *where]) == 0
        assert capsys.readouterr().out == "1 execution archived\n"
        [path] = tmp_path.glob("executions-*")
        assert executions_in(path) == [id]

    def test_what_was_imported_expires_and_is_not_archived_again(
        self, keeping: Journal, archive: Archive
    ) -> None:
        ended(keeping, 1)
        archive.run(all=True)
        [path] = archive.directory.glob("*.jsonl")
        transfer = Transfer(keeping, Search(keeping, Plans(keeping)))
        assert transfer.read(path).executions == 1
        assert {keeping.redis.pttl(key) > 0 for key in keys_of(keeping, "n0")} == {True}
        assert archive.hold() == 0 and archive.run(all=True).executions == 0
        assert keeping.snapshot("n0") is not None
