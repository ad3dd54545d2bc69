"""Records that say the same become one, which says how many there were, and when.

Each script merges some records of a group into one of them, or nothing: who dies in between
leaves a smaller group, and whoever comes next goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial

from pydantic import BaseModel, Field

from orch.errors import InputError
from orch.faults import fault
from orch.memory.likeness import sameness
from orch.memory.memory import AT_ONCE, Memory, Stored, revision
from orch.memory.rating import MOST_RATINGS
from orch.memory.record import MOST_RELATED, loads
from orch.memory.relating import MOST, naming
from orch.memory.sight import EVERYTHING

SHOWN = 20
"""Groups that a compaction names."""

DAY = timedelta(days=1)


class MergedGroup(BaseModel):
    """Records that say the same."""

    id: str = Field(description="of the one that stays")
    content: str = Field(description="of the newest")
    records: int = Field(description="how many there were")


class Compaction(BaseModel):
    """What a compaction did, or would do."""

    project_id: str
    dry_run: bool = False
    read: int = Field(0, description="records that were old enough")
    groups: int = Field(0, description="of records that say the same")
    merged: int = Field(0, description="records that are gone, since others stand for them")
    largest: list[MergedGroup] = Field(default_factory=list, description="groups, 20 at most")


def compact(
    memory: Memory,
    project: str | None = None,
    *,
    older: timedelta = DAY,
    similar: bool = False,
    dry_run: bool = False,
) -> Compaction:
    """See `Orchestrator.compact_memory`."""
    if older < timedelta(0):
        raise InputError(f"records are merged that are old, and none is {older} old")
    name = memory.project_named(project)
    done = Compaction(project_id=name, dry_run=dry_run)
    groups: dict[bytes, list[tuple[int, int, str]]] = {}
    for id, record in memory.stored(name, until=older, all_private=True):
        done.read += 1
        place = (-record.get("times", 1), record["created"], id)
        groups.setdefault(sameness(record, similar=similar), []).append(place)
    found = [group for group in groups.values() if len(group) > 1]
    done.groups = len(found)
    for group in sorted(found, key=len, reverse=True):
        newest = group[0][2]
        # Who stands for most already stays, and so the ids of those point to it still.
        ids = [id for _, _, id in sorted(group)]
        if len(done.largest) < SHOWN:
            named = memory.look_up_many(name, [newest], EVERYTHING).values()
            done.largest += [
                MergedGroup(id=ids[0], content=record["content"], records=len(ids))
                for _, record in named
            ]
        gone = len(ids) - 1 if dry_run else _merge_all(memory, name, ids, similar)
        done.merged += gone
    if not dry_run:
        memory.journal.forget_merged(name)
    return done


def _merge_all(memory: Memory, project: str, ids: Sequence[str], similar: bool) -> int:
    """Merge records into the first of them; how many are gone."""
    gone = 0
    for first in range(1, len(ids), AT_ONCE):
        gone += _merge(memory, project, ids[0], ids[first : first + AT_ONCE], similar)
        fault("memories_merged")
    return gone


def _merge(memory: Memory, project: str, stays: str, others: Sequence[str], similar: bool) -> int:
    while True:
        asked = [stays, *others]
        texts = dict(zip(asked, memory.journal.read_memories(project, asked), strict=True))
        before = {id: text for id, text in texts.items() if text is not None}
        records = {id: loads(text) for id, text in before.items()}
        if stays not in records:
            return 0
        same = sameness(records[stays], similar=similar)
        alike = {id: r for id, r in records.items() if sameness(r, similar=similar) == same}
        gone = [id for id in alike if id != stays]
        if not gone:
            return 0
        _point_to(memory, project, stays, gone)
        fault("memories_merging")
        stand_in = [(id, stays, alike[id]["expires"]) for id in gone]
        read = {id: before[id] for id in alike}
        merged = revision(read, {stays: _merged(alike)}, stand_in)
        if memory.journal.revise_memories(project, merged):
            return len(gone)


def _point_to(memory: Memory, project: str, stays: str, gone: Sequence[str]) -> None:
    """Have those that name records that go name the one that stays: it says the same already."""
    for id in gone:
        for other in naming(memory, project, id, MOST):
            if other in gone or other == stays:
                continue
            if other in memory.look_up_many(project, [other], EVERYTHING):
                memory.change(project, other, EVERYTHING, partial(_named, old=id, new=stays))


def _named(record: Stored, old: str, new: str) -> Stored:
    related = [new if id == old else id for id in record["related"]]
    return {**record, "related": list(dict.fromkeys(related))}


def _merged(records: dict[str, Stored]) -> Stored:
    """One for all: what it says is that of the newest."""
    ordered = sorted(records.values(), key=lambda record: record["created"], reverse=True)
    ratings = sorted(
        (each for record in ordered for each in record.get("ratings", ())), key=lambda e: e["at"]
    )
    sources = _each(
        source for r in ordered for source in (r["source"], *r.get("sources", ())) if source
    )
    related = _each(id for r in ordered for id in r["related"] if id not in records)
    made = {
        **ordered[0],
        "related": related,
        "expires": max(record["expires"] for record in ordered),
        "times": sum(record.get("times", 1) for record in ordered),
        "first": min(_first(record) for record in ordered),
    }
    if len(sources) > 1:
        made["sources"] = sources
    if ratings:
        made |= {"ratings": ratings[-MOST_RATINGS:], "confidence": ratings[-1]["confidence"]}
    return made


def _first(record: Stored) -> int:
    return int(record["first"] if "first" in record else record["created"])


def _each(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))[:MOST_RELATED]
