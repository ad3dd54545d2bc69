"""A version that some of the new executions of a workflow get, until it is promoted or dropped."""

from __future__ import annotations

from orch.control.noting import canary_changed, defined
from orch.control.user import current_user
from orch.control.versions import find_version
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.journal.versions import Canary, Defined
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.note import Note


class Canaries:
    """At most one for each workflow. Every method may be repeated without harm."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def get(self, key: str) -> Canary | None:
        return self.journal.choices(key)[1]

    def set(self, key: str, version: str, percent: float, by: str | None = None) -> Canary:
        """Let ``percent`` of the new executions get a version. Raises NotFound, InputError."""
        found = find_version(self.journal, key, version)
        if not 0 < percent <= 100:
            raise InputError(f"{percent:g} % of the executions of {key!r}: give 0 to 100")
        if found == self.journal.latest_version(key):
            raise InputError(
                f"version {found} is the latest of workflow {key!r}: all get it",
                hint="`orch define FILE --canary PERCENT` stores one that is not; or make an "
                "older one the latest by defining it again",
            )
        canary = Canary(found, percent, self.journal.clock(), by or current_user())
        note = canary_changed(key, canary, "set", canary.by, canary.at)
        self.journal.set_canary(key, canary, note)
        return canary

    def add(
        self, key: str, definition: WorkflowDefinition, percent: float, by: str | None = None
    ) -> Canary:
        """A version that was stored becomes the canary. Raises InputError."""
        if self.journal.latest_version(key) is None:
            raise InputError(
                f"workflow {key!r} has no other version that the rest could get",
                hint=f"define it without a canary: `orch define {key}.yaml`",
            )
        version = definition.content_hash()
        said = Defined(self.journal.clock(), by or current_user(), definition.version or "")
        self.journal.add_version(key, version, said, defined(key, version, said))
        return self.set(key, version, percent, by)

    def stop(self, key: str) -> bool:
        """No new execution gets it any more. False: there was none."""
        canary = self.get(key)
        if canary is None:
            return False
        self.journal.set_canary(key, None, self._changed(key, canary, "stopped"))
        return True

    def promote(self, key: str) -> str:
        """The canary is the latest version from now on. Raises NotFound."""
        canary = self.get(key)
        if canary is None:
            raise NotFound(
                f"workflow {key!r} has no canary", hint=f"`orch versions {key}` shows what there is"
            )
        text = self.journal.read_definition(canary.version)
        if text is not None:
            self.journal.store_latest(key, canary.version, text)  # with its triggers
        self.journal.promote(key, canary.version, self._changed(key, canary, "promoted"))
        return canary.version

    def _changed(self, key: str, canary: Canary, word: str) -> Note:
        return canary_changed(key, canary, word, current_user(), self.journal.clock())
