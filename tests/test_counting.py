"""How many executions there are, and how late the watch is, without reading one of them."""

from __future__ import annotations

from orch.control.plans import Plans
from orch.journal.counting import Count, Kind, Late
from orch.journal.journal import Journal
from tests.build import NOW, Worked, start, starting, task, workflow


def started(journal: Journal, name: str, execution: str) -> Worked:
    definition = workflow(task("a"), name=name)
    worked = Worked(journal, Plans(journal).store(name, definition, {}), execution)
    given = starting(worked)
    object.__setattr__(given, "workflow", name)
    assert journal.start(given)
    return worked


def test_executions_are_counted_by_workflow_version_and_status(journal: Journal) -> None:
    assert journal.count_executions() == {}
    versions = set()
    for number in range(5):
        worked = started(journal, "a b/ü", f"x{number}")
        versions.add(worked.plan.definition.content_hash())
        if number < 2:
            worked.do("a")
    started(journal, "other", "y").fail("a")
    (version,) = versions
    found = journal.count_executions("a b/ü")
    assert found == {
        Kind("a b/ü", version, "running"): Count(3, 3),
        Kind("a b/ü", version, "completed"): Count(2, 2),
    }
    others = {kind.status for kind in journal.count_executions() if kind.workflow == "other"}
    assert others == {"failed"}
    assert journal.count_executions("a") == {}


def test_those_that_started_lately_are_counted_beside_all(journal: Journal) -> None:
    started(journal, "w", "x1")
    journal.clock.advance(1000)  # type: ignore[attr-defined]
    started(journal, "w", "x2")
    (count,) = journal.count_executions("w", since=NOW + 1000).values()
    assert count == Count(2, 1)


def test_the_watch_is_late_when_nobody_looks(journal: Journal) -> None:
    assert journal.late(0) == Late()
    start(journal, task("a"))
    journal.clock.advance(13_000)  # type: ignore[attr-defined]
    late = journal.late(5000)
    assert (late.tokens, late.oldest) == (1, 10_000)
    assert journal.late(11_000) == Late()


def test_redis_says_what_it_holds(journal: Journal) -> None:
    found = journal.redis_usage()
    assert found.memory > 0
    assert found.limit == 0
