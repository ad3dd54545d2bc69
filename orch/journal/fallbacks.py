"""Outputs in Redis that may stand in for others; each capability has keys of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.fallback import Fallback
from orch.journal.connection import Connection


class Fallbacks(Connection):
    def keep_output(self, capability: str, name: str, output: str, keep: int) -> bool:
        """Keep the output (JSON) of a call for ``keep`` ms. False: it is too large."""
        reply = self.run(
            "keep_output",
            outputs=self.keys.kept_outputs(capability),
            ages=self.keys.output_ages(capability),
            now=self.clock(),
            name=name,
            output=output,
            most=self.settings.fallback_bytes,
            keep=keep,
        )
        return self._word("keep_output", reply, "KEPT", "TOO_LARGE") == "KEPT"

    def kept_output(self, capability: str, name: str) -> tuple[int, str] | None:
        """When it was kept, ms, and the output, JSON."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.zscore(self.keys.output_ages(capability), name)
        pipe.hget(self.keys.kept_outputs(capability), name)
        at, text = self.read(pipe.execute)
        return None if at is None or text is None else (int(at), str(text))

    def declare_fallbacks(self, declared: Mapping[str, Fallback | None]) -> None:
        """What a worker knows of its capabilities; None: that one has none."""
        found: dict[Any, Any] = {
            n: each.dumps() for n, each in declared.items() if each is not None
        }
        without = [name for name, each in declared.items() if each is None]

        def declare() -> None:
            pipe = self.redis.pipeline(transaction=False)
            if without:
                pipe.hdel(self.keys.fallbacks(), *without)
            if found:
                pipe.hset(self.keys.fallbacks(), mapping=found)
            pipe.execute()

        self.read(declare)

    def declared_fallback(self, capability: str) -> Fallback | None:
        text = self.read(self.redis.hget, self.keys.fallbacks(), capability)
        return None if text is None else Fallback.loads(text)
