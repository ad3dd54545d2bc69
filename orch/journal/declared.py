"""What is declared of each capability, by the worker that served it and started last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orch.errors import SettingsError
from orch.journal.connection import Connection
from orch.workflows.declared import Declared


class Declarations(Connection):
    def declare_capabilities(self, declared: Mapping[str, Declared]) -> None:
        """What a worker knows of its capabilities."""
        found: dict[Any, Any] = {
            name: json.dumps(each.as_dict(), separators=(",", ":"))
            for name, each in declared.items()
        }
        if found:
            self.read(lambda: self.redis.hset(self.keys.capabilities(), mapping=found))

    def declared_capabilities(self) -> dict[str, Declared]:
        """By name; what a later release has declared, and this one cannot read, is left out."""
        found = {}
        for name, text in sorted(self.read(self.redis.hgetall, self.keys.capabilities()).items()):
            try:
                found[name] = Declared.of(json.loads(text))
            except SettingsError:
                continue
        return found
