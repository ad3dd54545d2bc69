"""The live workers, as agents among which one is chosen."""

from __future__ import annotations

from typing import Any

from orch.journal.agents import Agents, Sums
from orch.journal.workers import Workers
from orch.workflows.agents import Agent, Tallied


class Fleet(Workers, Agents):
    def live_agents(self) -> tuple[Agent, ...]:
        """The live workers, with what they have to do and what they have done under their names.

        Those that take nothing new serve no queue.
        """
        signs = self.live_workers()
        records = self.read_agents(sorted({_name(said) for said in signs}))
        return tuple(
            Agent(
                _name(said),
                str(said["id"]),
                frozenset(said["queues"]),
                len(said["holds"]),
                int(said.get("concurrency") or 1),
                _success(records[_name(said)].sums({said["id"]: _sums(said)})),
                str(said.get("profile", "")),
            )
            for said in signs
        )


def _name(said: dict[str, Any]) -> str:
    return str(said.get("name") or said["id"])


def _sums(said: dict[str, Any]) -> Sums:
    found = [Tallied.of(list(each)) for each in (said.get("tally") or {}).values()]
    calls, failures = sum(t.calls for t in found), sum(t.failures for t in found)
    return calls, failures, sum(t.seconds for t in found)


def _success(sums: Sums) -> float:
    calls, failures, _ = sums
    return 1 - failures / calls if calls else 1.0
