"""What every contestant can do, and what those have in common that keep their state in Redis."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from redis import Redis

from orch.journal.journal import open_redis

ROOT = Path(__file__).parent.parent.parent
SLOTS = 2
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

PATIENCE = 300.0
"""Seconds after which something is not done, and will not be."""

SCRATCH, OTHER = 3, 4
"""Databases that belong to no contestant for long."""


@dataclass
class Run:
    """``wall``: seconds from the first start to the last end; ``starts``: ms of each start."""

    wall: float
    starts: list[float] = field(default_factory=list)


class Contestant(ABC):
    """One system, with a worker of two slots.

    ``shapes``: those it has. A chain has so many steps, a `fan_out` so many side by side and
    one behind them; a `map` is a `fan_out` over items, where a system has such a thing; each
    step of `spread` is served by another worker; those of `hold` take `HOLD` seconds,
    those of `work` `WORK`.
    """

    name: str
    title: str
    shapes: frozenset[str]
    never = "not in {:g} s"
    """What is said of one that did not recover in time."""

    share = 1.0
    """Which part of the load a slow one is given; throughput is compared, not time."""

    @abstractmethod
    def start(self) -> None:
        """Start all that it needs, and wait until it serves."""

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def run(self, shape: str, size: int, times: int = 1) -> Run:
        """Start so many at once, and wait until all are done."""

    @abstractmethod
    def processes(self) -> list[int]:
        """Its processes, but for those of a Redis that all share and for this one."""

    @abstractmethod
    def cpu(self) -> float:
        """CPU seconds so far of its workers, its server and its client."""

    @abstractmethod
    def kept(self, shape: str, size: int, times: int) -> float:
        """Bytes that are kept of one that has ended."""

    def recover(self, links: int, patience: float) -> float | None:
        """Seconds lost when one of its workers is killed in a step; None: not in time."""
        raise NotImplementedError

    def wake(self) -> None:  # noqa: B027
        """It is measured next."""

    def rest(self) -> None:  # noqa: B027
        """Others are measured next."""

    def about(self, patience: float) -> dict[str, str]:
        """What a report says of it."""
        return {"title": self.title, "never": self.never.format(patience)}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class OnRedis(Contestant):
    """One whose client is this process and whose state is a database of the common Redis.

    ``count`` workers of ``slots`` each; the n-th serves ``queues[n]``, where they are given.
    """

    number: int

    def __init__(
        self,
        url: str,
        *,
        number: int | None = None,
        count: int = 1,
        slots: int = SLOTS,
        queues: Sequence[str] = (),
    ) -> None:
        self.server_url = url
        if number is not None:
            self.number = number
        self.url = urlunsplit(urlsplit(url)._replace(path=f"/{self.number}"))
        self.count, self.slots, self.queues = count, slots, queues
        self.redis: Redis = open_redis(self.url)
        self.redis.flushdb()

    def elsewhere(self, number: int = SCRATCH, **given: Any) -> Self:
        """The same system on another database, which is emptied, with other workers."""
        return type(self)(self.server_url, number=number, **given)

    def stop(self) -> None:
        self.stop_workers()
        self.redis.flushdb()
        self.redis.close()

    @abstractmethod
    def stop_workers(self) -> None: ...

    @abstractmethod
    def begin(self, shape: str, size: int) -> Any:
        """Start one. What comes back is all that a client keeps of it."""

    @abstractmethod
    def prepare(self, shape: str, size: int) -> None:
        """Do what is done once and not with each start."""

    @abstractmethod
    def is_done(self, handle: Any) -> bool: ...

    @abstractmethod
    def wait_for(self, handle: Any) -> None:
        """Wait until one is done, as a program that uses the system would."""

    @abstractmethod
    def keys_of(self, handle: Any) -> list[str]:
        """The keys that are left of it when it is done."""

    @abstractmethod
    def ended(self, handle: Any) -> float:
        """When it ended, seconds since the epoch."""

    def shared_bytes(self) -> int:
        """Bytes of the keys that all executions share and that grow with them."""
        return 0

    def run(self, shape: str, size: int, times: int = 1) -> Run:
        self.prepare(shape, size)
        handles, starts = [], []
        begun = before = time.perf_counter()
        for _ in range(times):
            handles.append(self.begin(shape, size))
            starts.append(1000 * (time.perf_counter() - before))
            before = time.perf_counter()
        if times == 1:
            self.wait_for(handles[0])
        else:
            self.wait(handles, 0.005)
        return Run(time.perf_counter() - begun, starts)

    def wait(self, handles: list[Any], pause: float, timeout: float = PATIENCE) -> None:
        """Until all are done; one command per look, ``pause`` seconds between two of them."""
        limit = time.monotonic() + timeout
        for handle in handles:
            while not self.is_done(handle):
                if time.monotonic() > limit:
                    raise TimeoutError(f"{self.name}: not done within {timeout:g} s")
                time.sleep(pause)

    def cpu(self) -> float:
        server: Any = self.redis.info("cpu")
        own = os.times()
        redis = server["used_cpu_user"] + server["used_cpu_sys"]
        return float(cpu_of(self.processes()) + own.user + own.system + redis)

    def kept(self, shape: str, size: int, times: int) -> float:
        self.prepare(shape, size)
        before = self.shared_bytes()
        handles = [self.begin(shape, size) for _ in range(times)]
        self.wait(handles, 0.005)
        kept = sum(self.bytes_of(self.keys_of(handle)) for handle in handles)
        return (kept + self.shared_bytes() - before) / times

    def bytes_of(self, keys: list[str]) -> int:
        return sum(self.redis.memory_usage(key, samples=0) or 0 for key in keys)


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of processes and their children so far; 0 where there is no /proc."""
    ticks = 0
    for pid in family(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def resident(pids: list[int]) -> int:
    """Bytes of memory of processes and their children; 0 where there is no /proc."""
    pages = 0
    for pid in family(pids):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * PAGE


def family(pids: list[int]) -> list[int]:
    """Processes and all that descend from them."""
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        left += [int(child) for child in children]
    return found


def wait_for(condition: Callable[[], bool], timeout: float, pause: float = 0.01) -> bool:
    """Whether it came true in time."""
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(pause)
    return True
