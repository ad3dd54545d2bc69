"""How many executions there are, how late the watch is, and what Redis has: read at a bounded cost,
however many executions are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

from orch.journal import heads
from orch.journal.connection import Connection
from orch.workflows.state import ExecutionStatus


class Kind(NamedTuple):
    """Executions of one version of a workflow that have one status."""

    workflow: str
    version: str
    status: str


@dataclass(frozen=True)
class Count:
    """``all``: that are kept; ``recent``: those of them that started since an instant."""

    all: int = 0
    recent: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.all + other.all, self.recent + other.recent)


@dataclass(frozen=True)
class Late:
    """Tokens of which nobody has taken care in time. ``oldest``: for how long, ms, the first of
    them should have been looked at."""

    tokens: int = 0
    oldest: int = 0


@dataclass(frozen=True)
class RedisUsage:
    """Bytes that Redis holds and may hold (0: any number), and that go in and out in a second."""

    memory: int = 0
    limit: int = 0
    bytes_in: float = 0.0
    bytes_out: float = 0.0


BOUNDS = (
    *(100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000),
    *(1_800_000, 3_600_000, 21_600_000, 86_400_000),
)
"""Ms, to which durations are counted; as in `lua/parts/index.lua`."""

ABOVE = "+"
"""Longer than the last bound."""


@dataclass
class Ends:
    """Executions of one workflow that ended with one status. ``took``: ms, all together;
    ``within``: how many of them took no longer than each bound and longer than the one before."""

    took: int = 0
    within: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.within.values())


@dataclass
class Totals:
    """What only grows, as long as the Redis is kept: ``started`` by workflow, ``ended`` by
    workflow and status. One that is taken up again after its end ends twice."""

    started: dict[str, int] = field(default_factory=dict)
    ended: dict[tuple[str, str], Ends] = field(default_factory=dict)


def counts_of_start(workflow: str, status: str) -> list[str | int]:
    """What a start adds to `totals`: flat field, amount, …

    The fields are `sWORKFLOW`, the starts; `eWORKFLOW STATUS BOUND`, the ends that took no longer
    and longer than the bound before; `tWORKFLOW STATUS`, how long they took together, ms. Names
    are quoted as in the index.
    """
    name = heads.quoted(workflow)
    found: list[str | int] = [f"s{name}", 1]
    if ExecutionStatus(status).ended:
        found += [f"e{name} {status} {BOUNDS[0]}", 1, f"t{name} {status}", 0]
    return found


class Counting(Connection):
    """Every method may raise Unreachable."""

    def totals(self) -> Totals:
        """How many executions began and ended: one read for each partition."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            pipe.hgetall(self.keys.totals(partition))
        sums: dict[str, int] = {}
        for texts in self.read(pipe.execute):
            for name, text in texts.items():
                sums[name] = sums.get(name, 0) + int(text)
        found = Totals()
        for name, amount in sums.items():
            _add(found, name, amount)
        return found

    def count_executions(
        self, workflow: str | None = None, since: int | None = None
    ) -> dict[Kind, Count]:
        """All that are kept, or those of a workflow. ``since``: ms.

        One script for each partition, which takes two steps through its index for each head.
        """
        above = "w" if workflow is None else heads.of_kind(workflow)
        given = [
            {
                "index": self.keys.index(partition),
                "above": above,
                "since": heads.instant(since or 0),
            }
            for partition in range(self.keys.partitions)
        ]
        counts: dict[str, tuple[int, int]] = {}
        for reply in self.run_many("count_heads", given):
            for head, every, recent in zip(reply[::3], reply[1::3], reply[2::3], strict=True):
                before = counts.get(head, (0, 0))
                counts[head] = (before[0] + int(every), before[1] + int(recent))
        return {_kind(head): Count(*found) for head, found in counts.items()}

    def is_watched(self) -> bool:
        """Whether there is any token at all, in one command."""
        watches = [self.keys.watch(partition) for partition in range(self.keys.partitions)]
        return bool(self.read(self.redis.exists, *watches))

    def late(self, after: int) -> Late:
        """What of the watch has been due for longer than ``after`` ms."""
        if not self.is_watched():
            return Late()
        now = self.clock()
        bounds = (1, now - after)  # 0 is no instant: "now", of what was never looked at
        pipe = self.redis.pipeline(transaction=False)
        watches = [self.keys.watch(partition) for partition in range(self.keys.partitions)]
        for watch in watches:
            pipe.zrangebyscore(watch, *bounds, start=0, num=1, withscores=True)
        first = [each[0][1] for each in self.read(pipe.execute) if each]
        if not first:
            return Late()
        pipe = self.redis.pipeline(transaction=False)
        for watch in watches:
            pipe.zcount(watch, *bounds)
        return Late(sum(self.read(pipe.execute)), now - int(min(first)))

    def redis_usage(self) -> RedisUsage:
        """Of the Redis of the journal; of a cluster, of the node that answers."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.info("memory")
        pipe.info("stats")
        memory: dict[str, Any]
        memory, stats = self.read(pipe.execute)
        return RedisUsage(
            int(memory.get("used_memory", 0)),
            int(memory.get("maxmemory", 0)),
            1024 * float(stats.get("instantaneous_input_kbps", 0)),
            1024 * float(stats.get("instantaneous_output_kbps", 0)),
        )


def _add(totals: Totals, name: str, amount: int) -> None:
    """Add what one field says."""
    what, *rest = name[1:].split(" ")
    workflow = unquote(what, errors="surrogatepass")
    if name[0] == "s":
        totals.started[workflow] = totals.started.get(workflow, 0) + amount
        return
    ends = totals.ended.setdefault((workflow, rest[0]), Ends())
    if name[0] == "t":
        ends.took += amount
    else:
        ends.within[rest[1]] = ends.within.get(rest[1], 0) + amount


def _kind(head: str) -> Kind:
    text, _, status = head[1:-1].rpartition(" ")
    return Kind(*heads.kind_of(text), status)
