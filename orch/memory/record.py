"""A record of the memory, and what one may be."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import isfinite
from typing import Any

from pydantic import BaseModel, Field

from orch.areas import AREAS as AREAS
from orch.control.starting import check_json
from orch.control.status import instant
from orch.errors import InputError
from orch.redaction import Redactor
from orch.settings import Settings
from orch.workflows.state import encode

LONGEST_CONTENT = 10_000
LONGEST_NAME = 1000
LONGEST_TAG = 200
MOST_TAGS = 50
MOST_RELATED = 100
LONGEST_KEPT = 3_153_600_000
"""A hundred years, in seconds."""

_PREFIX = re.compile(r"ORCH:([A-Z]+): ")


class Rating(BaseModel):
    """A confidence that somebody gave a record afterwards."""

    by: str
    at: str = Field(description="ISO 8601 in UTC")
    confidence: float


class Origin(BaseModel):
    """Where a record was copied from."""

    project_id: str
    id: str


class MemoryRecord(BaseModel):
    """One thing that is remembered. Instants are ISO 8601 in UTC."""

    id: str
    project_id: str
    agent_role: str = Field(description="who wrote it")
    area: str
    content: str = Field(description="begins with `ORCH:AREA: `")
    data: Any = Field(None, description="what belongs to it, JSON")
    tags: list[str] = Field(default_factory=list)
    related: list[str] = Field(default_factory=list, description="ids of other records")
    confidence: float = Field(1.0, description="0 to 1: how sure it is")
    source: str = Field("", description="what it tells of, such as EXECUTION:PATH")
    created: str
    expires: str
    private: bool = Field(False, description="only `agent_role` and `shared_with` see it")
    shared_with: list[str] = Field(default_factory=list, description="roles")
    ratings: list[Rating] = Field(default_factory=list, description="the last ones, oldest first")
    times: int = Field(1, description="how many records were merged into it, itself included")
    first: str | None = Field(None, description="of a merged one: when the first was written")
    sources: list[str] = Field(default_factory=list, description="of a merged one: the latest")
    origin: Origin | None = Field(None, description="of a copy: what it was copied from")

    @classmethod
    def of(cls, project: str, id: str, stored: Mapping[str, Any]) -> MemoryRecord:
        times: dict[str, Any] = {name: instant(stored[name]) for name in TIMES if name in stored}
        if "ratings" in stored:
            times["ratings"] = [{**each, "at": instant(each["at"])} for each in stored["ratings"]]
        return cls.model_validate({**stored, **times, "id": id, "project_id": project})


TIMES = ("created", "expires", "first")


def new_record(
    settings: Settings,
    now: int,
    agent_role: str,
    content: str,
    *,
    tags: Sequence[str] = (),
    data: Any = None,
    related: Sequence[str] = (),
    confidence: float = 1.0,
    source: str = "",
    created: int | None = None,
    keep: float | timedelta | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """A record as it is stored: instants in ms, secrets replaced. What most records have not, is
    left out. Raises InputError."""
    redactor = Redactor.of(settings)
    if isinstance(tags, str):
        raise InputError(f"tags are a list of texts, and {tags!r} is one text")
    for tag in tags:
        _check_text("a tag", tag, LONGEST_TAG)
    if len(tags) > MOST_TAGS or len(related) > MOST_RELATED:
        raise InputError(
            f"{len(tags)} tags and {len(related)} related records are given; "
            f"{MOST_TAGS} and {MOST_RELATED} are allowed"
        )
    for id in related:
        checked_id(id, "the id of a related record")
    check_json(settings, "the data of a memory record", data)
    area = area_of(content)
    record = {
        "area": area,
        "content": redactor.text(content),
        "data": redactor.value(data),
        "agent_role": checked_name("the role of an agent", agent_role),
        "tags": [redactor.text(tag) for tag in dict.fromkeys(tags)],
        "related": list(dict.fromkeys(related)),
        "confidence": checked_confidence(confidence),
        "source": redactor.text(checked_name("the source of a record", source)) if source else "",
        "created": now if created is None else created,
        "expires": now + _kept(settings, area, keep),
    }
    return {**record, "private": True} if private else record


def _kept(settings: Settings, area: str, keep: float | timedelta | None) -> int:
    """How long a record is kept, ms. Raises InputError."""
    if isinstance(keep, timedelta):
        keep = keep.total_seconds()
    if keep is None:
        keep = settings.memory_retention_by_area.get(area, settings.memory_retention)
    # Above it, Python has no instant.
    if isinstance(keep, bool) or not isfinite(keep) or not 0 < keep <= LONGEST_KEPT:
        raise InputError(
            f"a record is kept for more than 0 seconds and at most {LONGEST_KEPT}, not {keep!r}"
        )
    return max(1, int(keep * 1000))


def checked_confidence(value: float) -> float:
    """Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"a confidence is from 0 to 1, and {value!r} is not")
    return value


def area_of(content: str) -> str:
    """The area that a text names. Raises InputError."""
    _check_text("the content of a memory record", content, LONGEST_CONTENT)
    found = _PREFIX.match(content)
    if found is None or not content[found.end() :].strip():
        raise InputError(
            f"{content[:60]!r} does not say what it is about",
            hint="write `ORCH:AREA: text`, for example `ORCH:WORKFLOW: orders took 3 s`",
        )
    if found[1] not in AREAS:
        raise unknown_area(found[1])
    return found[1]


def unknown_area(name: str) -> InputError:
    return InputError(f"the memory has no area {name!r}", hint=f"there are: {', '.join(AREAS)}")


def checked_name(what: str, value: object) -> str:
    """Raises InputError."""
    return _check_text(what, value, LONGEST_NAME)


def checked_id(value: object, what: str = "the id of a memory record") -> str:
    """Raises InputError."""
    return checked_name(what, value)


def new_id() -> str:
    return uuid.uuid4().hex


def dumps(stored: Mapping[str, Any]) -> str:
    return encode(stored)


def loads(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _check_text(what: str, value: object, longest: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{what} is a text, and {value!r} is none")
    if len(value) > longest:
        raise InputError(f"{what} has {len(value)} characters, and {longest} are allowed")
    return value
