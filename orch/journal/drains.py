"""Which agents are to take nothing new."""

from __future__ import annotations

from orch.journal.noted import Noted, without_notes
from orch.workflows.agents import Drain
from orch.workflows.note import Note


class Drains(Noted):
    """``agent``: the whole name of a worker, `lint@host`."""

    def ask_to_drain(self, agent: str, drain: Drain, note: Note | None = None) -> None:
        self.amend(self.keys.drains(), {agent: drain.dumps()}, note=note)

    def forget_drain(self, agent: str, note: Note | None = None) -> bool:
        """False: there was none."""
        return self.amend(self.keys.drains(), drops=[agent], note=note)

    def read_drain(self, agent: str) -> Drain | None:
        text = self.read(self.redis.hget, self.keys.drains(), agent)
        return None if text is None else Drain.loads(text)

    def read_drains(self) -> dict[str, Drain]:
        found = self.read(self.redis.hgetall, self.keys.drains())
        return {str(agent): Drain.loads(text) for agent, text in without_notes(found).items()}
