"""Records are kept for as long as they are wanted, merged where they say the same, and moved."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from orch.errors import InputError, NotFound
from orch.journal.connection import milliseconds
from orch.journal.journal import Journal
from orch.memory.compaction import Compaction, compact
from orch.memory.memory import AT_ONCE, Memory
from orch.memory.rating import rate
from orch.memory.record import MOST_RELATED
from orch.memory.relating import related
from orch.memory.sight import PUBLIC, Sight
from orch.memory.statistics import statistics
from orch.memory.transfer import export, load
from orch.settings import Settings
from orch.tasks.archiver import Archiver
from tests.build import FakeClock
from tests.remembered import say, small, told

DAY = 86_400_000
NO_TIME = timedelta(0)


@pytest.fixture
def memory(journal: Journal) -> Memory:
    return Memory(journal)


def merge(memory: Memory, **given: Any) -> Compaction:
    memory.journal.clock.advance(1)  # type: ignore[attr-defined]
    return compact(memory, **{"older": NO_TIME, **given})


# --- retention ---------------------------------------------------------------------------------


def test_an_area_and_a_record_may_be_kept_for_another_time(
    journal: Journal, clock: FakeClock
) -> None:
    memory = small(journal, memory_retention_by_area={"MONITOR": 3600.0})
    say(memory, "figures", "MONITOR")
    say(memory, "figures to keep", "MONITOR", keep=timedelta(days=400))
    say(memory, "soon gone", keep=60)
    say(memory, "as ever")
    clock.advance(60_000)
    assert sorted(told(memory)) == ["as ever", "figures", "figures to keep"]
    clock.advance(3_600_000)
    assert sorted(told(memory)) == ["as ever", "figures to keep"]
    clock.advance(399 * DAY)
    assert told(memory) == ["figures to keep"]
    assert journal.redis.pttl(journal.keys.memories("default")) > 399 * DAY
    clock.advance(DAY)
    assert told(memory) == []


def test_a_full_memory_takes_what_would_be_the_first_to_go(
    journal: Journal, clock: FakeClock
) -> None:
    memory = small(journal, memory_limit=2)
    for text in ("one", "two"):
        say(memory, text)
        clock.advance(1)
    say(memory, "short", keep=60)
    assert told(memory) == ["short", "two"]
    say(memory, "next")
    assert told(memory) == ["next", "two"]


@pytest.mark.parametrize("wrong", [{"WEATHER": 60.0}, {"AGENT": 0.0}, {"AGENT": float("nan")}])
def test_a_retention_of_no_area_or_no_time_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"WEATHER|AGENT"):
        Settings(memory_retention_by_area=wrong)


# --- compaction --------------------------------------------------------------------------------


def test_records_that_say_the_same_become_one_that_says_how_many(
    memory: Memory, clock: FakeClock
) -> None:
    first, ids = clock(), []
    for number in range(5):
        given = {"tags": ["b", "a"][:: 1 if number % 2 else -1], "data": number}
        ids.append(say(memory, "is slow", source=f"x{number}:s", keep=60 + number, **given))
        clock.advance(1000)
    others = [
        say(memory, "is slow", tags=["a"]),
        say(memory, "is slow", tags=["a", "b"], agent_role="B"),
        say(memory, "is slow", tags=["a", "b"], private=True),
        say(memory, "is Slow", tags=["a", "b"]),
    ]
    done = merge(memory)
    assert (done.read, done.groups, done.merged) == (9, 1, 4)
    assert [(g.records, g.content) for g in done.largest] == [(5, "ORCH:WORKFLOW: is slow")]
    record = memory.get(ids[0])
    assert (record.times, record.data, record.source) == (5, 4, "x4:s")
    assert record.sources == [f"x{number}:s" for number in (4, 3, 2, 1, 0)]
    assert str(record.first) < record.created < record.expires
    stored = memory.look_up("default", ids[0], PUBLIC)[1]
    assert (stored["first"], stored["created"]) == (first, first + 4000)
    assert stored["expires"] == first + 4000 + 64_000
    assert told(memory, source="x2:s") == ["is slow"]
    assert statistics(memory).records == 1 + len(others)
    assert merge(memory).merged == 0
    assert memory.get(ids[0]) == record


def test_the_ids_of_merged_records_lead_to_the_one_and_are_not_written_again(
    memory: Memory, clock: FakeClock
) -> None:
    ids = [say(memory, "again", id=f"n{number}") for number in range(3)]
    merge(memory)
    assert {memory.get(id).id for id in ids} == {"n0"}
    assert say(memory, "again", id="n2") == "n0"
    assert memory.get("n0").times == 3
    clock.advance(1000)
    say(memory, "again", id="n3")
    merge(memory)
    assert (memory.get("n1").id, memory.get("n3").times) == ("n0", 4)
    memory.forget(None, ["n1"])
    for id in ids:
        with pytest.raises(NotFound):
            memory.get(id)
    assert say(memory, "again, anew", id="n2") == "n2"
    assert memory.get("n2").times == 1


def test_what_is_merged_is_forgotten_in_time(memory: Memory, clock: FakeClock) -> None:
    for number in range(3):
        say(memory, "again", id=f"n{number}")
    merge(memory)
    journal, names = memory.journal, memory.journal.keys.memory_merged("default")
    assert journal.redis.hlen(names) == 2
    assert journal.redis.pttl(names) > 89 * DAY
    clock.advance(90 * DAY)
    assert statistics(memory).records == 0
    assert journal.redis.exists(names) == 0


def test_ids_of_related_records_point_to_what_stands_for_them(memory: Memory) -> None:
    for number in range(3):
        say(memory, "cause", id=f"n{number}", related=["root"])
    say(memory, "names one", id="m1", related=["n1", "n2", "other"])
    say(memory, "names none", id="m2")
    merge(memory)
    assert memory.get("m1").related == ["n0", "other"]
    assert memory.get("n0").related == ["root"]
    say(memory, "told later", id="m3", related=["n2"])
    assert memory.get("m3").related == ["n0"]
    found = related(memory, "n0", depth=1, project=None, limit=10, sight=PUBLIC)
    assert {each.id for each in found if each.direction == "named by"} == {"m1", "m3"}


def test_reads_and_ratings_of_merged_records_are_kept(memory: Memory, clock: FakeClock) -> None:
    for number in range(2):
        say(memory, "again", id=f"n{number}")
    rate(memory, "n0", 0.4, "ada", None, PUBLIC)
    memory.count_reads(None, ["n0"])
    clock.advance(1000)
    memory.count_reads(None, ["n1"])
    say(memory, "again", id="n2")
    merge(memory)
    use = memory.uses(None, ["n0"])[0]
    assert (use.reads, memory.get("n0").confidence) == (2, 0.4)
    assert memory.journal.memory_reads("default", ["n0"]) == [(2, clock() - 1)]
    assert [each.by for each in memory.get("n0").ratings] == ["ada"]


def test_similar_records_are_merged_where_one_asks_for_it(memory: Memory, clock: FakeClock) -> None:
    say(memory, "order 17 took 3.5 s")
    clock.advance(1)
    say(memory, "Order 18  took 4 s")
    say(memory, "order 19 failed")
    assert merge(memory).merged == 0
    assert merge(memory, similar=True).merged == 1
    assert sorted(told(memory)) == ["Order 18  took 4 s", "order 19 failed"]


def test_a_dry_run_and_what_is_young_change_nothing(memory: Memory, clock: FakeClock) -> None:
    say(memory, "again")
    clock.advance(2 * DAY)
    say(memory, "again")
    before = memory.journal.redis.hgetall(memory.journal.keys.memories("default"))
    assert compact(memory).read == 1
    done = merge(memory, dry_run=True)
    assert (done.dry_run, done.merged, done.groups) == (True, 1, 1)
    assert memory.journal.redis.hgetall(memory.journal.keys.memories("default")) == before
    assert compact(memory, "nobody's").read == 0
    with pytest.raises(InputError):
        compact(memory, older=timedelta(days=-1))


COMPACT = """
import sys
from datetime import timedelta
from orch.faults import arm
from orch.journal.journal import Journal, open_redis
from orch.memory.compaction import compact
from orch.memory.memory import Memory
from orch.settings import Settings

arm(sys.argv[2])
compact(Memory(Journal(open_redis(sys.argv[1]), Settings())), older=timedelta(0))
"""


@pytest.mark.parametrize("point", ["memories_merging", "memories_merged"])
def test_a_compaction_that_is_killed_loses_nothing_and_the_next_one_goes_on(
    redis: Redis, settings: Settings, tmp_path: Path, point: str
) -> None:
    memory, each = Memory(Journal(redis, settings)), AT_ONCE + 20
    for number in range(each):
        given = {"created": milliseconds() - each + number}
        say(memory, "one", id=f"a{number}", **given)
        say(memory, "two", id=f"b{number}", **given, related=["a7"])
    armed = tmp_path / "armed"
    command = [sys.executable, "-c", COMPACT, str(settings.redis_url), f"{point}:{armed}"]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    left = memory.search(limit=1000)
    assert sum(record.times for record in left) == 2 * each
    assert len(left) == 2 * each - (AT_ONCE if point == "memories_merged" else 0)
    compact(memory, older=NO_TIME)
    assert {(record.id, record.times) for record in memory.search()} == {("a0", each), ("b0", each)}
    assert memory.get("b0").related == ["a0"]
    assert {memory.get(f"a{number}").id for number in range(each)} == {"a0"}
    assert statistics(memory).records == 2


def test_two_compactions_at_once_count_every_record_once(redis: Redis, settings: Settings) -> None:
    memories = [Memory(Journal(redis, settings)) for _ in range(3)]
    before = milliseconds() - 1000
    for number in range(150):
        say(memories[0], f"text {number % 3}", id=f"n{number}", created=before + number)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda memory: compact(memory, older=NO_TIME), memories))
    left = memories[0].search()
    assert [(record.id, record.times) for record in left] == [("n2", 50), ("n1", 50), ("n0", 50)]
    assert sum(each.merged for each in done) == 147
    assert memories[0].get("n149").id == "n2"


def test_workers_that_archive_merge_records_where_a_setting_says_so(
    redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    memory, before = Memory(Journal(redis, settings)), milliseconds() - 60_000
    for project in ("shop", "bank"):
        for age in (59_000, 1000, 0):
            say(memory, "again", project=project, created=before + age)
    for after, left in ((None, 3), (30.0, 2)):
        given = {"archive_dir": tmp_path, "memory_compact_after": after}
        archiver = Archiver(settings.model_copy(update=given), str(settings.redis_url))
        archiver.tick()
        archiver.tick()
        assert {len(memory.search(project=name)) for name in ("shop", "bank")} == {left}


def test_a_record_that_changes_while_it_is_merged_is_merged_as_it_is_then(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        say(memory, "again", id=f"n{number}")
    revise, asked = memory.journal.revise_memories, []

    def late(project: str, revision: Any) -> bool:
        if not asked:
            asked.append(revision)
            rate(memory, "n1", 0.3, "ada", None, PUBLIC)
        return revise(project, revision)

    monkeypatch.setattr(memory.journal, "revise_memories", late)
    merge(memory)
    assert (memory.get("n0").confidence, memory.get("n1").times) == (0.3, 2)


def test_what_a_merged_record_tells_of_is_bounded(memory: Memory) -> None:
    for number in range(MOST_RELATED + 5):
        say(memory, "again", source=f"x{number}", related=[f"r{number}"])
    merge(memory)
    (record,) = memory.search()
    assert (len(record.sources), len(record.related)) == (MOST_RELATED, MOST_RELATED)
    assert record.times == MOST_RELATED + 5


# --- forgetting --------------------------------------------------------------------------------


def test_records_are_forgotten_by_their_ids_all_or_none(memory: Memory) -> None:
    ids = [say(memory, f"number {n}", tags=["t"]) for n in range(3)]
    hidden = say(memory, "hidden", agent_role="A", private=True)
    with pytest.raises(NotFound, match="no record 'n9'"):
        memory.forget(None, [ids[0], "n9"])
    with pytest.raises(NotFound):
        memory.forget(None, [hidden], Sight("B"))
    assert len(told(memory, all_private=True)) == 4
    assert memory.forget(None, [ids[0], ids[2], ids[0]]) == 2
    assert told(memory, all_private=True, tag="t") == ["number 1"]
    assert statistics(memory).by_tag == {"t": 1}


# --- import ------------------------------------------------------------------------------------


def test_what_was_exported_comes_back_as_it_was_once(memory: Memory, clock: FakeClock) -> None:
    say(memory, "again", id="n1", source="x1:s")
    clock.advance(1000)
    say(memory, "again", id="n2", source="x2:s", confidence=0.3, data={"ü": [1]}, keep=60)
    merge(memory)
    rate(memory, "n1", 0.6, "ada", None, PUBLIC)
    say(memory, "mine", agent_role="A", private=True, tags=["t"], related=["n1"])
    file = io.BytesIO()
    assert export(memory, file, all_private=True) == 2
    lines = file.getvalue()
    assert load(memory, io.BytesIO(lines), project="bank").model_dump() == {
        "imported": 2, "known": 0, "expired": 0,
    }  # fmt: skip
    assert load(memory, io.BytesIO(lines), project="bank").known == 2
    assert load(memory, io.BytesIO(lines)).known == 2
    same = {"exclude": {"project_id"}}
    for mine, copy in zip(
        memory.search(all_private=True),
        memory.search(project="bank", all_private=True),
        strict=True,
    ):
        assert mine.model_dump(**same) == copy.model_dump(**same)
    assert told(memory, project="bank") == ["again"]
    clock.advance(91 * DAY)
    assert load(memory, io.BytesIO(lines)).expired == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": "ORCH:WEATHER: rain"}, "no area 'WEATHER'"),
        ({"confidence": 7}, "from 0 to 1"),
        ({"created": "yesterday"}, "no point in time"),
        ({"created": "2030-01-01T00:00:00"}, "no time zone"),
        ({"tags": "t"}, "tags"),
        ({"id": " "}, "the id of a memory record"),
    ],
)
def test_a_line_that_is_no_record_is_named(
    memory: Memory, change: dict[str, Any], words: str
) -> None:
    say(memory, "good", id="n1")
    file = io.BytesIO()
    export(memory, file)
    good = json.loads(file.getvalue())
    lines = [json.dumps(good | {"id": "n2"}), "", json.dumps(good | {"id": "n3"} | change)]
    with pytest.raises(InputError, match=f"line 3 is no record of the memory.*{words}") as caught:
        load(memory, io.BytesIO("\n".join(lines).encode()))
    assert "are imported" in caught.value.hint
    assert told(memory) == ["good", "good"]


def test_a_file_that_is_not_there_or_no_json_is_named(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load(memory, tmp_path / "none.jsonl")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(InputError, match="line 1 is no record of the memory"):
        load(memory, tmp_path / "bad")
