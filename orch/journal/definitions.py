"""Stored definitions and plans."""

from __future__ import annotations

from orch.journal.choosing import Choosing


class Definitions(Choosing):
    """Definitions by version, plans by key, and the latest version of each name."""

    def store_definition(self, name: str | None, version: str, canonical: str) -> None:
        """Store a version; as the latest of ``name``, if one is given."""

        def store() -> None:
            self.redis.set(self.keys.definition(version), canonical)
            if name is not None:
                self.redis.hset(self.keys.workflows(), name, version)

        self.read(store)
        if name is not None:
            self.tell_choices_changed()

    def store_plan(self, plan: str, content: str) -> None:
        self.read(self.redis.set, self.keys.plan(plan), content)

    def read_definition(self, version: str) -> str | None:
        found: str | None = self.read(self.redis.get, self.keys.definition(version))
        return found

    def read_plan(self, plan: str) -> str | None:
        found: str | None = self.read(self.redis.get, self.keys.plan(plan))
        return found

    def latest_version(self, name: str) -> str | None:
        """The version under which ``name`` was stored last."""
        found: str | None = self.read(self.redis.hget, self.keys.workflows(), name)
        return found

    def workflows(self) -> dict[str, str]:
        """Name -> latest version of every stored workflow."""
        return dict(self.read(self.redis.hgetall, self.keys.workflows()))
