"""A message is carried to an idle process of the pool at once, in one piece."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.solo import TaskPool as Solo
from kombu.asynchronous import Hub, set_event_loop

from orch.tasks.carrying import AT_ONCE, carry_at_once

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="prefork takes fork")


def answer(folder: str, name: str, rest: str = "", until: str = "") -> int:
    """What a process of the pool does: say that it has begun, and wait for a file."""
    partial = Path(folder, f".{name}")
    partial.write_text(f"{os.getpid()} {len(rest)}")
    partial.rename(Path(folder, name))
    while until and not Path(folder, until).exists():
        time.sleep(0.005)
    return len(rest)


class Pool:
    """Celery's own pool of two processes, and the event loop of a worker's main process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = Hub()
        set_event_loop(self.hub)
        self.pool = AsynPool(2, threads=False)
        self.register()
        self.done: list[Any] = []
        assert self.until(lambda: len(self.pool._all_inqueues) == 2)

    def register(self) -> None:
        """As a worker does when it begins, and when it reaches its broker again."""
        self.pool.register_with_event_loop(self.hub)
        carry_at_once(SimpleNamespace(_pool=self.pool), self.hub)

    def give(self, name: str, rest: str = "", until: str = "") -> None:
        self.pool.apply_async(
            answer, (str(self.folder), name, rest, until), callback=self.done.append
        )

    def until(self, condition: Callable[[], bool], *, turning: bool = True) -> bool:
        """Whether it came true in time. ``turning``: the event loop has its turns."""
        limit = time.monotonic() + (30 if turning else 10)
        while not condition() and time.monotonic() < limit:
            if turning:
                self.hub.call_soon(lambda: None)
                self.hub.run_once()
            else:
                time.sleep(0.005)
        return condition()

    def begun(self, name: str) -> bool:
        return (self.folder / name).exists()

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()
        self.hub.close()
        set_event_loop(None)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path)
    yield made
    made.close()


def test_an_idle_process_has_its_message_before_the_event_loop_turns(pool: Pool) -> None:
    pool.give("a", until="go")
    pool.give("b", until="go")
    assert pool.until(lambda: pool.begun("a") and pool.begun("b"), turning=False)
    (pool.folder / "go").touch()
    assert pool.until(lambda: len(pool.done) == 2)


def test_a_message_waits_while_all_processes_are_busy(pool: Pool) -> None:
    for name in "ab":
        pool.give(name, until="go")
    for name in "cd":
        pool.give(name)
    assert pool.until(lambda: pool.begun("a") and pool.begun("b"), turning=False)
    assert len(pool.pool.outbound_buffer) == 2
    assert not pool.begun("c")
    (pool.folder / "go").touch()
    assert pool.until(lambda: len(pool.done) == 4)
    assert pool.begun("c")
    assert pool.begun("d")


def test_a_message_of_any_size_comes_whole(pool: Pool) -> None:
    sizes = [0, AT_ONCE - 500, AT_ONCE, AT_ONCE + 1, 1_000_000]
    for number, size in enumerate(sizes):
        pool.give(str(number), "x" * size)
    assert pool.until(lambda: len(pool.done) == len(sizes))
    assert sorted(pool.done) == sizes


def test_a_message_that_fits_into_the_pipe_is_written_at_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    for process in pool.pool._pool:
        send = process.send_job_offset

        def note(content: Any, offset: int, send: Callable[..., int] = send) -> int:
            written.append(len(content))
            return send(content, offset)

        monkeypatch.setattr(process, "send_job_offset", note)
    pool.give("a", "x")
    assert pool.until(lambda: len(pool.done) == 1)
    assert len(written) == 1
    pool.give("b", "x" * AT_ONCE)
    assert pool.until(lambda: len(pool.done) == 2)
    assert len(written) >= 3  # the length, and one piece or more


def test_what_a_dead_process_was_to_do_is_known_to_be_lost(pool: Pool) -> None:
    lost: list[Any] = []
    pool.pool.apply_async(answer, (str(pool.folder), "a", "", "never"), error_callback=lost.append)
    assert pool.until(lambda: pool.begun("a"), turning=False)
    os.kill(int((pool.folder / "a").read_text().split()[0]), 9)
    assert pool.until(lambda: bool(lost))
    pool.give("b")
    assert pool.until(lambda: pool.done == [0])


def test_a_message_is_carried_once_when_the_broker_was_away(pool: Pool) -> None:
    pool.give("a", until="go")
    assert pool.until(lambda: pool.begun("a"), turning=False)
    pool.register()
    pool.give("b")
    assert pool.until(lambda: pool.begun("b"), turning=False)
    (pool.folder / "go").touch()
    pool.give("c")
    assert pool.until(lambda: len(pool.done) == 3 and pool.begun("c"))


def test_another_pool_is_left_as_it_is() -> None:
    solo = Solo()
    carry_at_once(solo, Hub())
    said: list[Any] = []
    solo.apply_async(len, ("abc",), callback=said.append)
    assert said == [3]
