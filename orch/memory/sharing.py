"""A record is shown to further roles, or copied into another project."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from orch.errors import InputError
from orch.memory.memory import Memory, Stored
from orch.memory.record import MemoryRecord, checked_name
from orch.memory.sight import Sight

MOST_ROLES = 100
"""Roles with which a record is shared."""

NOT_COPIED = ("related", "private", "shared_with")
"""Ids of the other project, and roles of it."""


def share(
    memory: Memory,
    id: str,
    *,
    roles: Sequence[str],
    to_project: str | None,
    project: str | None,
    sight: Sight,
) -> MemoryRecord:
    """See `Orchestrator.share_memory`."""
    if isinstance(roles, str):
        raise InputError(f"roles are a list of texts, and {roles!r} is one text")
    if bool(roles) == (to_project is not None):
        raise InputError("a record is shared with roles, or with a project: name one of them")
    name = memory.project_named(project)
    if to_project is None:
        return _show(memory, id, roles, name, sight)
    return _copy(memory, id, memory.project_named(to_project), name, sight)


def _show(
    memory: Memory, id: str, roles: Sequence[str], project: str, sight: Sight
) -> MemoryRecord:
    for role in roles:
        checked_name("the role of an agent", role)

    def shown(record: Stored) -> Stored:
        if not record.get("private"):
            return record
        others = (role for role in roles if role != record["agent_role"])
        shared = list(dict.fromkeys((*record.get("shared_with", ()), *others)))
        if len(shared) > MOST_ROLES:
            raise InputError(f"a record is shared with {len(shared)} roles, {MOST_ROLES} at most")
        return {**record, "shared_with": shared} if shared else record

    return memory.change(project, id, sight, shown)


def _copy(memory: Memory, id: str, target: str, project: str, sight: Sight) -> MemoryRecord:
    if target == project:
        raise InputError(f"record {id!r} is in project {project!r} already")
    at, record = memory.look_up(project, id, sight)
    copy = {name: value for name, value in record.items() if name not in NOT_COPIED}
    copy |= {"related": [], "origin": {"project_id": project, "id": at}}
    return memory.add(target, copied_id(project, at), copy)[0]


def copied_id(project: str, id: str) -> str:
    """The id of the copy of a record, in whatever project: so there is one."""
    told = f"{len(project)}:{project}{id}".encode(errors="surrogatepass")
    return hashlib.sha256(told).hexdigest()[:32]
