"""The versions of a workflow: which there are, and which one a word means."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.journal.versions import Defined

SHOWN = 5


@dataclass(frozen=True)
class WorkflowVersion:
    """One version of a workflow. ``defined``: when it was first, ISO 8601 in UTC.

    ``label`` is the `version` that its author wrote into it. ``execution``: it was made for
    that one alone (ad hoc). ``canary``: the percentage of new executions that get it.
    """

    version: str
    label: str | None
    defined: str | None
    by: str | None
    latest: bool
    execution: str | None
    canary: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def versions_of(journal: Journal, key: str) -> list[WorkflowVersion]:
    """The versions that are listed of a stored workflow, newest first."""
    latest, canary = journal.choices(key)
    found = journal.versions(key)
    if latest is not None:
        found.setdefault(latest, Defined(0, ""))
    newest = sorted(found.items(), key=lambda pair: (pair[1].at, pair[0]), reverse=True)
    return [
        WorkflowVersion(
            version,
            said.label or None,
            datetime.fromtimestamp(said.at / 1000, UTC).isoformat(timespec="milliseconds")
            if said.at
            else None,
            said.by or None,
            version == latest,
            said.execution or None,
            canary.percent if canary is not None and canary.version == version else None,
        )
        for version, said in newest
    ]


def find_version(journal: Journal, key: str, asked: str) -> str:
    """The version that is meant: its hash, a label, or the beginning of a hash.

    A label is looked for among the versions that were defined, not among those that were made
    for one execution. Raises NotFound, InputError when several are meant.
    """
    if journal.has_version(key, asked):
        return asked
    found = versions_of(journal, key)
    labelled = [v.version for v in found if v.label == asked and v.execution is None]
    meant = labelled or [v.version for v in found if asked and v.version.startswith(asked)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(
            f"{asked!r} is {len(meant)} versions of workflow {key!r}: {', '.join(meant[:SHOWN])}",
            hint="give more of the hash",
        )
    if journal.read_definition(asked) is not None:
        return asked  # it is no longer listed, or was stored before there were lists
    known = [f"{v.version} ({v.label})" if v.label else v.version for v in found[:SHOWN]]
    raise NotFound(
        f"workflow {key!r} has no version {asked!r}; the latest are: {', '.join(known) or 'none'}",
        hint=f"`orch versions {key}` shows them all",
    )
