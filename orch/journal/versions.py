"""The versions of each workflow, and the one that a part of its starts gets."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orch.journal.choosing import Choosing
from orch.journal.noted import Noted, without_notes
from orch.workflows.note import Note

MOST_VERSIONS = 1000
"""Versions of one workflow that are listed; older ones can still be run."""


@dataclass(frozen=True)
class Defined:
    """When a version was defined first (ms), by whom, and what its author calls it.

    ``execution``: the one that it was made for, if it is no version for others.
    """

    at: int
    by: str
    label: str = ""
    execution: str = ""

    def dumps(self) -> str:
        return json.dumps([self.at, self.by, self.label, self.execution], separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Defined:
        return cls(*json.loads(text))


@dataclass(frozen=True)
class Canary:
    """``percent`` of the starts of a workflow get ``version``. ``at``: since when, ms."""

    version: str
    percent: float
    at: int
    by: str

    def dumps(self) -> str:
        return json.dumps([self.version, self.percent, self.at, self.by], separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Canary:
        return cls(*json.loads(text))


class Versions(Noted, Choosing):
    """Lists of versions, one for each name of a workflow; and canaries."""

    def add_version(self, name: str, version: str, said: Defined, note: Note | None = None) -> bool:
        """List a version, unless it is; whether this call did."""
        key = self.keys.versions(name)
        if not self.amend(key, {version: said.dumps()}, expect={version: ""}, note=note):
            return False
        if self.read(self.redis.hlen, key) > MOST_VERSIONS:
            self._forget_oldest(name)
        return True

    def _forget_oldest(self, name: str) -> None:
        """Those that were made for one execution go first."""
        latest = self.read(self.redis.hget, self.keys.workflows(), name)
        found = self.versions(name).items()
        rest = [(not said.execution, said.at, v) for v, said in found if v != latest]
        gone = [version for _, _, version in sorted(rest)[: max(0, len(found) - MOST_VERSIONS)]]
        if gone:
            self.read(self.redis.hdel, self.keys.versions(name), *gone)

    def choices(self, name: str) -> tuple[str | None, Canary | None]:
        """The latest version of ``name``, and its canary."""
        _, latest, canary = self.choices_at(name, 0)
        return latest, canary

    def choices_at(self, name: str, partition: int) -> tuple[str, str | None, Canary | None]:
        """As `choices`, behind the word by which a start in a partition knows that they hold."""
        word, latest, text = self.read(
            self.wire.read_all,
            ("GET", self.keys.choices(partition)),
            ("HGET", self.keys.workflows(), name),
            ("HGET", self.keys.canaries(), name),
        )
        return word or "", latest, Canary.loads(text) if text else None

    def set_canary(self, name: str, canary: Canary | None, note: Note | None = None) -> None:
        """None: there is none any more."""
        if canary is None:
            self.amend(self.keys.canaries(), drops=[name], note=note)
        else:
            self.amend(self.keys.canaries(), {name: canary.dumps()}, note=note)
        self.tell_choices_changed()

    def promote(self, name: str, version: str, note: Note | None = None) -> None:
        """Make a version the latest, and end the canary."""
        self.read(self.redis.hset, self.keys.workflows(), name, version)
        self.set_canary(name, None, note)

    def has_version(self, name: str, version: str) -> bool:
        """Whether a version of this very hash is listed."""
        return bool(self.read(self.redis.hexists, self.keys.versions(name), version))

    def versions(self, name: str) -> dict[str, Defined]:
        """Version -> what is known of it, of those that are listed."""
        found = self.read(self.redis.hgetall, self.keys.versions(name))
        return {version: Defined.loads(text) for version, text in without_notes(found).items()}
