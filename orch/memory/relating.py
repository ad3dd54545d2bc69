"""Records name others, and are named by them: from one to all around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal

from pydantic import BaseModel, Field

from orch.errors import InputError
from orch.memory import entries
from orch.memory.memory import Memory
from orch.memory.query import Condition
from orch.memory.record import MemoryRecord
from orch.memory.sight import Sight

DEEPEST = 10
MOST = 1000

Direction = Literal["names", "named by"]


class RelatedMemory(BaseModel):
    """A record around another one."""

    id: str = Field(description="as it is named; `record.id` is another where it was merged")
    depth: int = Field(description="steps from the record that was asked for")
    direction: Direction = Field(description="whether `of` names it, or it names `of`")
    of: str = Field(description="id of its neighbour on the way")
    record: MemoryRecord | None = Field(None, description="None: it is not there (any more)")


def related(
    memory: Memory, id: str, *, depth: int, project: str | None, limit: int, sight: Sight
) -> list[RelatedMemory]:
    """See `Orchestrator.related_memories`."""
    if not 1 <= depth <= DEEPEST or not 1 <= limit <= MOST:
        raise InputError(
            f"records around another one are 1 to {DEEPEST} steps away and 1 to {MOST}; "
            f"a depth of {depth} and a limit of {limit} are asked for"
        )
    name = memory.project_named(project)
    at, record = memory.look_up(name, id, sight)
    edge, seen = [MemoryRecord.of(name, at, record)], {id, at}
    found: list[RelatedMemory] = []
    for step in range(1, depth + 1):
        around = _around(memory, name, edge, step, limit, sight)
        new = []
        for each in around:
            place = each.record.id if each.record is not None else each.id
            if place not in seen:
                seen |= {place, each.id}
                new.append(each)
        found += new
        edge = [each.record for each in new if each.record is not None]
        if not edge or len(found) >= limit:
            break
    return found[:limit]


def _around(
    memory: Memory,
    project: str,
    edge: Sequence[MemoryRecord],
    depth: int,
    limit: int,
    sight: Sight,
) -> list[RelatedMemory]:
    told: list[tuple[Direction, str, str]] = []
    for record in edge:
        told += [("names", record.id, id) for id in record.related]
        named_by = naming(memory, project, record.id, limit)
        told += [("named by", record.id, id) for id in named_by]
        if len(told) >= limit + MOST:
            break
    records = memory.look_up_many(project, [id for _, _, id in told], sight)
    found = []
    for direction, of, id in told:
        at = records.get(id)
        if at is None and direction == "named by":
            continue
        record_of = None if at is None else MemoryRecord.of(project, *at)
        # Long ids begin alike in the index: the record says what it names.
        if direction == "named by" and record_of is not None and of not in record_of.related:
            continue
        found.append(
            RelatedMemory(id=id, depth=depth, direction=direction, of=of, record=record_of)
        )
    return found


def naming(memory: Memory, project: str, id: str, most: int) -> list[str]:
    """Ids of records that the index has as naming this one, the newest first."""
    (named,) = Condition((entries.head(entries.RELATED, id),)).ranges()
    found = memory.journal.memory_entries(project, named, most)
    return [entries.id_in(entries.place_in(entry)) for entry in islice(found, most)]
