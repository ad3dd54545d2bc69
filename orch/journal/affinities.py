"""Which agent does the steps of a key of `affinity`."""

from __future__ import annotations

from collections.abc import Sequence

from orch.journal.connection import Connection


class Affinities(Connection):
    def stick(self, key: str, queue: str, fit: Sequence[str], chosen: str) -> str:
        """The agent that has the key, of those in ``fit``; ``chosen``, from now on, if none has.

        ``queue``: that of the step's capability.
        """
        reply = self.run(
            "stick",
            affinity=self.keys.affinity(key),
            queue=queue,
            fit=list(fit),
            chosen=chosen,
            keep=max(1, int(self.settings.affinity_ttl * 1000)),
        )
        self._word("stick", reply, "STUCK")
        return str(reply[1])

    def stuck(self, key: str) -> dict[str, str]:
        """Queue -> the agent that has the key there."""
        found = self.read(self.redis.hgetall, self.keys.affinity(key))
        return {str(queue): str(agent) for queue, agent in found.items()}
