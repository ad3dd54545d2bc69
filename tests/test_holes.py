"""Partial success: what an execution went on without, and how such ones are found."""

from __future__ import annotations

from typing import Any

import pytest

from orch.control.filters import Filters
from orch.control.forking import Forking
from orch.control.search import Search
from orch.errors import InputError, NotAllowed
from orch.journal import heads
from orch.journal.journal import Journal
from orch.workflows.holes import MOST_HOLES, Hole, hole_fields, load_holes, tolerated
from tests.build import parallel, task
from tests.escalated import Played as Escalated
from tests.test_failing import failed
from tests.undone import Played, played


def joined(journal: Journal, join: Any, **more: Any) -> Played:
    steps = parallel("p", [task("a")], [task("b")], next="z")
    steps["parallel"] |= {"join": join, **more}
    return played(journal, steps, task("z"))


def found_by(journal: Journal, played: Played, degraded: bool) -> list[str]:
    filters: Filters = {"degraded": degraded}
    return Search(journal, played.plans).ids(filters)


def is_indexed_as_it_is(journal: Journal) -> bool:
    index = journal.redis.zrange(journal.keys.index(journal.keys.partition("x1")), 0, -1)
    record = journal.redis.hgetall(journal.keys.record("x1"))
    return set(index) == set(heads.members_of("x1", record))


class TestHoles:
    @pytest.mark.parametrize(
        ("join", "more"),
        [("any", {}), ({"atLeast": 1}, {}), ("all", {"tolerate": {"count": 1}})],
    )
    def test_of_a_branch_that_failed_and_that_the_join_could_do_without(
        self, journal: Journal, join: Any, more: dict[str, Any]
    ) -> None:
        found = joined(journal, join, **more)
        found.fail("p/1/b")
        found.do("p/0/a")
        assert not found.context().degraded and len(found.context().holes) == 1
        found.do("z")
        context = found.context()
        assert context.status == "completed" and context.degraded
        (hole,) = context.holes
        assert (hole.path, hole.why, hole.error, hole.message) == (
            "p/1/b",
            "tolerated",
            "Broken",
            "no",
        )
        assert str(hole) == "p/1/b tolerated: Broken: no"
        assert found_by(journal, found, True) == ["x1"]
        assert found_by(journal, found, False) == []
        assert is_indexed_as_it_is(journal)

    def test_there_is_none_where_all_went_well_or_another_branch_was_faster(
        self, journal: Journal
    ) -> None:
        found = joined(journal, "any")
        found.do("p/0/a")
        found.do("z")
        assert not found.context().degraded and found.context().holes == []
        assert found_by(journal, found, True) == []
        assert found_by(journal, found, False) == ["x1"]

    def test_of_items_of_a_map_each_is_told(self, journal: Journal) -> None:
        mapped = {"items": [1, 2, 3], "steps": [task("i")], "tolerate": {"percentage": 70}}
        found = played(journal, {"id": "m", "type": "map", "map": mapped})
        found.do("m[0]/i")
        for path in ("m[1]/i", "m[2]/i"):
            found.fail(path)
        context = found.context()
        assert context.degraded
        assert [hole.path for hole in context.holes] == ["m[1]/i", "m[2]/i"]

    def test_of_a_step_that_somebody_skipped(self, journal: Journal) -> None:
        found = played(journal, task("a", "b"), task("b"))
        found.verbs.skip("x1", "a", reason="not today", by="ada")
        found.do("b")
        (hole,) = found.context().holes
        assert str(hole) == "a skipped by ada: not today"
        assert found.context().degraded

    def test_of_a_step_that_fails_in_spite_of_what_it_tolerates_there_is_none(
        self, journal: Journal
    ) -> None:
        found = joined(journal, "all", tolerate={"count": 1})
        found.fail("p/1/b")
        found.fail("p/0/a")
        context = found.context()
        assert context.status == "failed" and not context.degraded and context.holes == []


class TestEscalated:
    def test_a_fallback_that_helped_leaves_one(self, journal: Journal) -> None:
        step = task("a", escalation=[{"fallback": {"capability": "senior"}}])
        found = Escalated(journal, step)
        found.fail("a")
        found.do("a/~1")
        assert found.ended() == "completed"
        ((hole,),) = journal.record("x1").holes.values()
        assert hole == Hole("a", "fallback", "Broken", "it broke")

    def test_a_person_who_skips_leaves_one_with_the_name(self, journal: Journal) -> None:
        found = Escalated(journal, task("a", escalation=["human"]))
        found.fail("a")
        found.rule("a", "skip", value=1, given=True)
        assert found.ended() == "completed"
        ((hole,),) = journal.record("x1").holes.values()
        assert (hole.why, hole.by, hole.error) == ("skipped", "ada", "Broken")


def test_an_output_that_stands_in_leaves_one(journal: Journal) -> None:
    found = played(journal, task("a", fallback={"value": 7}))
    found.fail("a")
    (hole,) = found.context().holes
    assert (hole.path, hole.why, hole.error) == ("a", "fallback", "Broken")
    assert found.context().degraded and found_by(journal, found, True) == ["x1"]


class TestForks:
    def fork(self, found: Played, path: str) -> Any:
        forking = Forking(found.runtime, None)  # type: ignore[arg-type]
        return forking.fork("x1", path)

    def test_a_fork_has_the_holes_of_what_it_keeps(self, journal: Journal) -> None:
        found = joined(journal, "any")
        found.fail("p/1/b")
        found.do("p/0/a")
        found.do("z")
        start = self.fork(found, "z").start
        assert journal.start(start)
        assert [hole.path for hole in journal.record(start.id).holes["p"]] == ["p/1/b"]

    def test_none_keeps_what_was_undone(self, journal: Journal) -> None:
        found = failed(journal, "a", "b")
        found.do("compensations/b")
        found.do("compensations/a")
        with pytest.raises(NotAllowed, match="would keep what a, b did, which was undone"):
            self.fork(found, "last")
        assert self.fork(found, "a").start.id


def test_of_many_failures_the_rest_is_counted() -> None:
    error = {"name": "Odd", "message": "no"}
    failures = [{"index": n, "error": {**error, "path": f"m[{n}]"}} for n in range(MOST_HOLES + 7)]
    holes = tolerated("m", failures)
    assert len(holes) == MOST_HOLES + 1
    assert str(holes[-1].message) == "and 7 more"
    assert load_holes(hole_fields("m", holes) | {"status": "completed"}) == {"m": tuple(holes)}
    assert hole_fields("m", []) == {}


def test_the_filter_is_a_truth_value(journal: Journal) -> None:
    found = played(journal, task("a"))
    with pytest.raises(InputError, match="'degraded' is true or false"):
        found_by(journal, found, "yes")  # type: ignore[arg-type]
