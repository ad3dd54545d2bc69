"""``python -m bench.find``: how long a page of a list takes, with 100,000 executions.

They are written by the real scripts, in pipelines, on an embedded server: half of them of one
workflow, nine in ten completed, the rest failed, cancelled, paused or running.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from orch.control.plans import Plans
from orch.control.search import Filters, Search
from orch.control.starting import make_start
from orch.embedded import ephemeral
from orch.journal.journal import Journal, open_redis
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus

ERRORS = ("TimeoutError", "Poison", "CardDeclined")
PAGE = 20


class Pipelined(Journal):
    """A journal whose scripts go out some hundred at a time, and are believed to succeed."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.pipe = self.redis.pipeline(transaction=False)
        self.now = 1_790_000_000_000
        self.clock = lambda: self.now
        for name in ("start", "end_execution", "pause", "amend"):
            self.redis.script_load(self._scripts[name].lua)

    def run(self, script: str, **given: Any) -> Any:
        made = self._scripts[script]
        keys, argv = made.pack(given)
        self.pipe.evalsha(made.sha, len(keys), *keys, *argv)
        if len(self.pipe.command_stack) >= 500:
            self.pipe.execute()
        return {
            "start": ["STARTED"],
            "pause": ["PAUSED"],
            "amend": ["AMENDED"],
            "end_execution": ["ENDED", "", [], None, None],
        }[script]


def definition(name: str, version: int, condition: str) -> WorkflowDefinition:
    step = {"id": "a", "capability": f"cap_{name}", "condition": condition}
    tags = [f"tag_{name}", f"v{version}"]
    content = {"name": name, "description": f"v{version}", "tags": tags, "steps": [step]}
    return WorkflowDefinition.model_validate(content)


def fill(journal: Pipelined, plans: Plans, count: int, kinds: int) -> list[str]:
    """Write executions of ``kinds`` workflows; the ids of those that called others."""
    chance = random.Random(7)
    made: list[list[Plan]] = []
    names = [f"w{n}" for n in range(kinds)]
    for name in names:
        made.append([plans.store(name, definition(name, v, "$.input.go"), {}) for v in range(3)])
    parents = [f"{n:016x}" for n in range(0, count, 100)]
    for n in range(count):
        journal.now += chance.randint(0, 5)
        kind = 0 if chance.random() < 0.5 else chance.randrange(kinds)
        rest = chance.random()
        id = f"{n:016x}"
        text = '{"go":false}' if rest < 0.9 else '{"go":true}'
        caller = Call(chance.choice(parents), "a", n + 1) if n % 10 == 1 else None
        version = 2 if chance.random() < 0.99 else chance.randrange(2)
        start = make_start(journal, made[kind][version], names[kind], id, text, parent=caller)
        if n % 2:
            start.attributes.update(customer=f"c{n % 1000}", paid=n % 3 == 0)  # type: ignore[attr-defined]
        assert journal.start(start)
        if 0.9 <= rest < 0.95:
            error = {"name": chance.choice(ERRORS), "message": "no"}
            journal.end(id, ExecutionStatus.FAILED, error)
        elif 0.95 <= rest < 0.96:
            journal.end(id, ExecutionStatus.CANCELLED, {"name": "Cancelled"})
        elif 0.96 <= rest < 0.965:
            journal.pause(id, {})
    journal.pipe.execute()
    return parents


def queries(parents: list[str], middle: int) -> Iterator[tuple[str, Filters]]:
    yield "none", {}
    for status in ExecutionStatus:
        yield f"status={status}", {"status": status.value}
    yield "status=running,paused", {"status": ("running", "paused")}
    yield "workflow=w0 (half)", {"workflow": "w0"}
    yield "workflow=w7", {"workflow": "w7"}
    yield "tag=tag_w3", {"tag": "tag_w3"}
    yield "tag=v0 (few, of all)", {"tag": "v0"}
    yield "capability=cap_w0", {"capability": "cap_w0"}
    yield "capability=nobody", {"capability": "nobody"}
    yield "version (few)", {"version": definition("w5", 0, "$.input.go").content_hash()}
    yield "attribute customer=c7", {"attribute": {"customer": "c7"}}
    yield "attribute paid=true", {"attribute": {"paid": True}}
    yield "error=Poison", {"error": "Poison"}
    yield f"parent={parents[3]}", {"parent": parents[3]}
    yield "until the middle", {"until": middle}
    yield "since the middle", {"since": middle}
    yield "workflow=w0 status=completed", {"workflow": "w0", "status": "completed"}
    yield "workflow=w0 status=running", {"workflow": "w0", "status": "running"}
    yield "workflow=w9 status=paused", {"workflow": "w9", "status": "paused"}
    yield "workflow=w9 error=Poison", {"workflow": "w9", "error": "Poison"}
    yield "customer=c7 status=failed", {"attribute": {"customer": "c7"}, "status": "failed"}
    yield "tag=tag_w3 status=failed", {"tag": "tag_w3", "status": "failed"}
    yield "paid=true workflow=w9", {"attribute": {"paid": True}, "workflow": "w9"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--workflows", type=int, default=20)
    parser.add_argument("--pages", type=int, default=10, help="of each query (default 10)")
    given = parser.parse_args()
    with ephemeral(timeout=60) as server:
        journal = Pipelined(open_redis(server.url), Settings(redis_url=server.url), url=server.url)
        plans = Plans(journal)
        begun = time.perf_counter()
        first = journal.now
        parents = fill(journal, plans, given.executions, given.workflows)
        took = time.perf_counter() - begun
        keys = [journal.keys.index(n) for n in range(journal.keys.partitions)]
        size = sum(journal.redis.memory_usage(key, samples=0) for key in keys)
        print(f"{given.executions} executions written in {took:.1f} s")
        print(f"index: {size / given.executions:.0f} bytes an execution")
        search = Search(journal, plans)
        print(f"{'page of 20':32} {'p50':>8} {'max':>8}  pages")
        for name, filters in queries(parents, (first + journal.now) // 2):
            times = []
            cursor: str | None = None
            for _ in range(given.pages):
                begun = time.perf_counter()
                page = search.page(PAGE, cursor, filters)
                times.append((time.perf_counter() - begun) * 1000)
                cursor = page.cursor
                if cursor is None:
                    break
            middle = statistics.median(times)
            print(f"{name:32} {middle:5.1f} ms {max(times):5.1f} ms  {len(times)}")
    journal.redis.close()


if __name__ == "__main__":
    main()
