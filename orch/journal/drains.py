"""Which agents are to take nothing new."""

from __future__ import annotations

from orch.journal.connection import Connection
from orch.workflows.agents import Drain


class Drains(Connection):
    """``agent``: the whole name of a worker, `lint@host`."""

    def ask_to_drain(self, agent: str, drain: Drain) -> None:
        self.read(self.redis.hset, self.keys.drains(), agent, drain.dumps())

    def forget_drain(self, agent: str) -> bool:
        """False: there was none."""
        return bool(self.read(self.redis.hdel, self.keys.drains(), agent))

    def read_drain(self, agent: str) -> Drain | None:
        text = self.read(self.redis.hget, self.keys.drains(), agent)
        return None if text is None else Drain.loads(text)

    def read_drains(self) -> dict[str, Drain]:
        found = self.read(self.redis.hgetall, self.keys.drains())
        return {str(agent): Drain.loads(text) for agent, text in found.items()}
