"""Who sees a record, with whom it is shared, how sure it is, and what stands around it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orch.agents.context import Context
from orch.errors import InputError, NotFound, Unreachable
from orch.journal.journal import Journal
from orch.memory.memory import Memory
from orch.memory.rating import MOST_RATINGS, rate
from orch.memory.relating import related
from orch.memory.sharing import copied_id, share
from orch.memory.sight import EVERYTHING, PUBLIC, Sight
from orch.memory.statistics import statistics
from orch.memory.step import StepMemory, recall_for_step, remember_of_step
from tests.build import FakeClock
from tests.remembered import say, told

DAY = 86_400_000


@pytest.fixture
def memory(journal: Journal) -> Memory:
    return Memory(journal)


# --- private records ---------------------------------------------------------------------------


def test_a_private_record_is_there_for_its_role_and_for_who_sees_all(memory: Memory) -> None:
    say(memory, "all know", id="n1")
    say(memory, "mine alone", id="n2", agent_role="A", private=True, tags=["t"])
    assert told(memory) == told(memory, viewer="B") == ["all know"]
    assert told(memory, text="mine") == told(memory, tag="t") == []
    assert told(memory, viewer="A") == told(memory, all_private=True) == ["mine alone", "all know"]
    assert told(memory, viewer="A", tag="t") == ["mine alone"]
    for sight in ({}, {"viewer": "B"}):
        with pytest.raises(NotFound):
            memory.get("n2", **sight)  # type: ignore[arg-type]
    assert memory.get("n2", viewer="A").private
    assert memory.get("n2", all_private=True).content == "ORCH:WORKFLOW: mine alone"


def test_many_private_records_hide_none_of_the_others(memory: Memory) -> None:
    for number in range(450):
        private = number % 150 != 0
        say(memory, f"number {number}", agent_role="A", private=private, created=number + 1)
    assert told(memory) == ["number 300", "number 150", "number 0"]
    assert told(memory, text="number", agent="A") == ["number 300", "number 150", "number 0"]
    assert len(told(memory, viewer="A", limit=1000)) == 450


def test_an_id_that_is_taken_by_what_one_does_not_see_tells_nothing_of_it(memory: Memory) -> None:
    say(memory, "mine alone", id="n1", agent_role="A", private=True)
    with pytest.raises(InputError, match="'n1' is taken"):
        say(memory, "other", id="n1", agent_role="B")
    assert say(memory, "again", id="n1", agent_role="A") == "n1"
    assert told(memory, viewer="A") == ["mine alone"]


def test_what_steps_remember_in_private_their_own_capability_recalls(memory: Memory) -> None:
    journal = memory.journal
    remember_of_step(journal, "review", "x1", "look", "ORCH:AGENT: is slow", private=True)
    remember_of_step(journal, "review", "x1", "look", "ORCH:AGENT: is there", confidence=0.5)
    mine = Context(memory=StepMemory(journal, "review", "x2", "look"))
    other = Context(memory=StepMemory(journal, "deploy", "x2", "ship"))
    assert [r.content for r in mine.recall("slow")] == ["ORCH:AGENT: is slow"]
    assert [r.content for r in other.recall()] == ["ORCH:AGENT: is there"]
    assert (
        other.recall("slow") == other.recall(viewer="review", all_private=True, text="slow") == []
    )
    assert mine.recall(min_confidence=0.6, limit=1)[0].content == "ORCH:AGENT: is slow"
    rule = recall_for_step(journal, "x2", "known", {"agent": "review", "limit": 5})
    assert [record["content"] for record in rule] == ["ORCH:AGENT: is there"]
    assert Context().recall("slow") == []


# --- sharing -----------------------------------------------------------------------------------


def shared(memory: Memory, id: str, *roles: str, to: str | None = None, **given: Any) -> Any:
    given = {"project": None, "sight": EVERYTHING, **given}
    return share(memory, id, roles=roles, to_project=to, **given)


def test_a_private_record_is_shared_with_roles(memory: Memory) -> None:
    id = say(memory, "mine", agent_role="A", private=True)
    with pytest.raises(NotFound):
        shared(memory, id, "B", sight=Sight("B"))
    assert shared(memory, id, "B", "A", sight=Sight("A")).shared_with == ["B"]
    assert shared(memory, id, "C", "B", sight=Sight("B")).shared_with == ["B", "C"]
    assert told(memory, viewer="B") == told(memory, viewer="C") == ["mine"]
    assert told(memory, viewer="D") == told(memory) == []
    public = say(memory, "everybody's", agent_role="A")
    assert shared(memory, public, "B") == memory.get(public)


def test_a_record_is_copied_into_another_project_once(memory: Memory, clock: FakeClock) -> None:
    id = say(memory, "lesson", related=["n0"], tags=["t"], agent_role="A", private=True)
    clock.advance(1000)
    first = shared(memory, id, to="bank")
    assert shared(memory, id, to="bank") == first
    assert told(memory, project="bank", tag="t") == ["lesson"]
    assert (first.id, first.related, first.private) == (copied_id("default", id), [], False)
    assert first.origin is not None
    assert (first.origin.project_id, first.origin.id) == ("default", id)
    assert first.expires == memory.get(id, all_private=True).expires
    for wrong in ({"to": "default"}, {}, {"to": "bank", "roles": ["B"]}):
        with pytest.raises(InputError):
            shared(memory, id, *wrong.get("roles", ()), to=wrong.get("to"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a list of texts"):
        share(memory, id, roles="B", to_project=None, project=None, sight=EVERYTHING)


# --- confidence --------------------------------------------------------------------------------


def test_a_confidence_is_changed_with_who_and_when(memory: Memory, clock: FakeClock) -> None:
    id = say(memory, "perhaps", confidence=0.25)
    clock.advance(1000)
    rated = rate(memory, id, 0.8, "ada", None, PUBLIC)
    assert (rated.confidence, memory.get(id)) == (0.8, rated)
    assert [(each.by, each.confidence) for each in rated.ratings] == [("ada", 0.8)]
    assert rated.created < rated.ratings[0].at
    for number in range(MOST_RATINGS):
        rated = rate(memory, id, number / 100, "bob", None, PUBLIC)
    assert {each.by for each in rated.ratings} == {"bob"}
    assert len(rated.ratings) == MOST_RATINGS
    with pytest.raises(InputError, match="from 0 to 1"):
        rate(memory, id, 2, "ada", None, PUBLIC)
    with pytest.raises(NotFound):
        rate(memory, "n9", 1, "ada", None, PUBLIC)


def test_many_who_rate_at_once_are_all_heard(memory: Memory) -> None:
    id = say(memory, "perhaps")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: rate(memory, id, n / 10, f"u{n}", None, PUBLIC), range(10)))
    record = memory.get(id)
    assert {each.by for each in record.ratings} == {f"u{n}" for n in range(10)}
    assert record.confidence == record.ratings[-1].confidence


def test_the_surer_ones_are_found_the_newest_first(memory: Memory, clock: FakeClock) -> None:
    for number in range(450):
        clock.advance(1)
        sure = {0: 1.0, 1: 0.7, 2: 0.69}.get(number % 150, 0.1)
        say(memory, f"number {number}", confidence=sure)
    sure = ["number 301", "number 300", "number 151", "number 150", "number 1", "number 0"]
    assert told(memory, min_confidence=0.7) == sure
    assert told(memory, min_confidence=1) == sure[1::2]
    assert told(memory, min_confidence=0.7, text="301") == sure[:1]
    assert len(told(memory, min_confidence=0, limit=1000)) == 450
    rate(memory, memory.search(text="449")[0].id, 0.9, "ada", None, PUBLIC)
    assert told(memory, min_confidence=0.7)[0] == "number 449"
    with pytest.raises(InputError, match="from 0 to 1"):
        memory.search(min_confidence=7)


# --- related records ---------------------------------------------------------------------------


def around(memory: Memory, id: str, depth: int = 1, **given: Any) -> list[tuple[Any, ...]]:
    asked = {"project": None, "limit": 100, "sight": PUBLIC, **given}
    found = related(memory, id, depth=depth, **asked)
    return [(each.depth, each.direction, each.of, each.id, bool(each.record)) for each in found]


def test_related_records_are_walked_both_ways(memory: Memory, clock: FakeClock) -> None:
    for id, names in [("a", []), ("b", ["a"]), ("c", ["b", "gone"]), ("d", ["b"]), ("e", ["c"])]:
        clock.advance(1)
        say(memory, id, id=id, related=names)
    assert around(memory, "b") == [
        (1, "names", "b", "a", True),
        (1, "named by", "b", "d", True),
        (1, "named by", "b", "c", True),
    ]
    assert around(memory, "a") == [(1, "named by", "a", "b", True)]
    assert around(memory, "a", depth=10)[1:] == [
        (2, "named by", "b", "d", True),
        (2, "named by", "b", "c", True),
        (3, "names", "c", "gone", False),
        (3, "named by", "c", "e", True),
    ]
    assert len(around(memory, "a", depth=10, limit=2)) == 2
    memory.forget(None, ["e"])
    assert around(memory, "c")[-1] == (1, "names", "c", "gone", False)
    for wrong in ({"depth": 0}, {"depth": 99}, {"limit": 0}):
        with pytest.raises(InputError):
            around(memory, "a", **wrong)


def test_what_is_private_is_not_there_among_the_related(memory: Memory) -> None:
    say(memory, "secret", id="s", agent_role="A", private=True)
    say(memory, "open", id="o", related=["s"])
    say(memory, "also secret", id="t", agent_role="A", private=True, related=["o"])
    assert around(memory, "o") == [(1, "names", "o", "s", False)]
    assert [each[3:] for each in around(memory, "o", sight=Sight("A"))] == [
        ("s", True),
        ("t", True),
    ]


def test_long_ids_that_begin_alike_are_told_apart(memory: Memory) -> None:
    one, two = "x" * 150 + "1", "x" * 150 + "2"
    say(memory, "one", id=one)
    say(memory, "two", id=two)
    say(memory, "names", id="n", related=[one])
    assert [each[3] for each in around(memory, one)] == ["n"]
    assert around(memory, two) == []


# --- reads -------------------------------------------------------------------------------------


def test_reads_are_counted_and_go_with_the_record(memory: Memory, clock: FakeClock) -> None:
    journal = memory.journal
    read, other = say(memory, "read"), say(memory, "not read")
    memory.count_reads(None, [read])
    clock.advance(1000)
    memory.count_reads(None, [read, "nobody"])
    first, second, none = memory.uses(None, [read, other, "nobody"])
    assert (first.reads, second.reads, none.reads, second.last_read) == (2, 0, 0, None)
    assert str(first.last_read) > memory.get(read).created
    key = journal.keys.memory_reads("default")
    assert journal.redis.hkeys(key) == [read]
    assert 0 < journal.redis.pttl(key) <= 90 * DAY
    memory.forget(None, [read])
    assert journal.redis.exists(key) == 0


def test_what_steps_recall_is_read_and_a_search_reads_nothing(memory: Memory) -> None:
    id = say(memory, "known", agent_role="A")
    memory.search()
    memory.get(id)
    StepMemory(memory.journal, "B", "x1", "s").search(text="known")
    recall_for_step(memory.journal, "x1", "f", {"agent": "A", "limit": 1})
    assert memory.uses(None, [id])[0].reads == 2


def test_where_reads_cannot_be_counted_records_are_read_all_the_same(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(project: str, ids: object) -> None:
        raise Unreachable("it is a replica")

    id = say(memory, "known")
    monkeypatch.setattr(memory.journal, "count_memory_reads", away)
    memory.count_reads(None, [id])
    assert memory.get(id).content == "ORCH:WORKFLOW: known"


# --- what was there before -----------------------------------------------------------------------


def test_records_of_an_earlier_release_are_read_rated_counted_and_forgotten(
    memory: Memory, clock: FakeClock
) -> None:
    """As they lie there: no field and no entry that came later."""
    journal = memory.journal
    record = {
        "area": "AGENT", "content": "ORCH:AGENT: of old", "data": None, "agent_role": "A",
        "tags": ["t"], "related": ["n0"], "confidence": 0.5, "source": "", "created": clock(),
        "expires": clock() + 86_400_000,
    }  # fmt: skip
    text = json.dumps(record, separators=(",", ":"))
    heads = ("*", "aAGENT", "gA", "tt", "wof", "wold")
    entries = [f"{head} {clock():013d}old" for head in heads]
    journal.add_memory("default", "old", text, entries, clock() + 86_400_000, 100)
    assert told(memory, tag="t") == told(memory, min_confidence=0.5) == ["of old"]
    assert told(memory, min_confidence=0.6) == []
    assert memory.get("old").times == 1
    memory.count_reads(None, ["old"])
    assert rate(memory, "old", 0.9, "ada", None, PUBLIC).confidence == 0.9
    assert statistics(memory).records == 1
    assert memory.forget(None, ["old"]) == 1
    assert journal.redis.exists(*(f"orch:{{m:default}}:{k}" for k in ("entries", "ends"))) == 0


@pytest.mark.parametrize("given", [0, -1, True, float("inf"), float("nan"), 1e12])
def test_a_time_to_keep_that_makes_no_sense_is_refused(memory: Memory, given: Any) -> None:
    with pytest.raises(InputError, match="kept for more than 0"):
        say(memory, "x", keep=given)
