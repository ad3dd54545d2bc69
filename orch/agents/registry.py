"""The registry: which agents there are, what they offer, how they are, and what they have done.

It is filled by the signs of life of workers, and emptied by their death: a worker is listed for
as long as it is believed to live, or, where it is silent, as long as its connection to Redis
is open. What its code offers lies once for all workers of the same code; what an agent has done
is kept under its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.info import (
    AgentCapability,
    AgentInfo,
    AgentStatus,
    info_of_record,
    info_of_worker,
)
from orch.agents.outside import OutsideAgents
from orch.control.runtime import Runtime
from orch.errors import JournalError, NotFound
from orch.journal.line import line_name
from orch.workflows.notices import ESCALATION_QUEUE

Offers = Mapping[str, Mapping[str, Any]]
"""Capability -> what is published of it."""

Live = list[tuple[AgentInfo, Offers]]
Signs = list[tuple[Mapping[str, Any], bool]]
Infos = list[AgentInfo]


class AgentRegistry:
    """Asked through the journal. Every method may raise Unreachable.

    ``agent``: the id of an agent, or its name, with its host or without.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.outside = OutsideAgents(runtime)

    def list(self, *, offline: bool = False) -> list[AgentInfo]:
        """The agents that live, and those that are registered, by their names; ``offline``: also
        those that are remembered."""
        found = [info for info, _ in self._live()]
        if offline:
            there = {info.name for info in found}
            gone = [name for name in self.journal.known_agents() if name not in there]
            records = self.journal.read_agents(gone)
            found += [info_of_record(record) for record in records.values() if record.seen]
        return sorted(found, key=lambda info: (info.name, info.id))

    def show(self, agent: str) -> AgentInfo:
        """One of them, also where it is gone. Raises NotFound."""
        return _named(self.list(offline=True), agent)

    def capabilities(self, agent: str) -> Sequence[AgentCapability]:
        """What an agent offers now, with versions and schemas. Raises NotFound."""
        live = self._live()
        info = _named([each for each, _ in live], agent)
        offered = next(offers for each, offers in live if each is info)
        return [AgentCapability(name=name, **offered[name]) for name in info.capabilities]

    def find(self, capability: str) -> Infos:
        """The agents that serve a capability now, and take work: those with the least load first,
        then those that had the most success."""
        found = [
            info
            for info, _ in self._live()
            if capability in info.capabilities
            and info.status in (AgentStatus.ONLINE, AgentStatus.BUSY)
            and not info.draining
        ]
        return sorted(found, key=lambda each: (each.load_factor, -each.success_rate, each.name))

    # --- behind them -------------------------------------------------------------------------

    def _live(self) -> Live:
        """Each agent that lives, and what its code offers."""
        workers = self._workers()
        names = [_name(said) for said, _ in workers]
        records = self.journal.read_agents(list(dict.fromkeys(names)))
        profiles = self.journal.read_profiles(said.get("profile", "") for said, _ in workers)
        found: Live = []
        for (said, silent), name in zip(workers, names, strict=True):
            offered = profiles.get(said.get("profile", "")) or _unsaid(said)
            info = info_of_worker(said, records[name], offered, silent=silent)
            found.append((info, offered))
        return [*found, *self.outside.list()]

    def _workers(self) -> Signs:
        """The signs of life of the workers that live, and whether one is silent."""
        seen = self.journal.seen_workers()
        there = self._connected([said for said, ttl in seen if ttl <= 0])
        return [(said, ttl <= 0) for said, ttl in seen if ttl > 0 or said["id"] in there]

    def _connected(self, silent: Sequence[Mapping[str, Any]]) -> set[str]:
        """Ids of those workers whose connections are open."""
        lines = {int(said["line"]): str(said["id"]) for said in silent if said.get("line")}
        if not lines:
            return set()
        namespace = self.journal.settings.namespace
        names = {number: line_name(namespace, id) for number, id in lines.items()}
        try:
            return {lines[number] for number in self.journal.find_lines(names)}
        except JournalError:  # an ACL forbids to ask
            return set()


def _unsaid(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a worker offers of which nothing else is known, for a time: what its queues are."""
    return {name: {} for name in said.get("queues", ()) if name != ESCALATION_QUEUE}


def _name(said: Mapping[str, Any]) -> str:
    return str(said.get("name") or said["id"])


def _named(agents: Sequence[AgentInfo], wanted: str) -> AgentInfo:
    """By its id, or its whole name, or that without the host. Raises NotFound."""
    called: dict[str, AgentInfo] = {}
    for info in agents:
        called.setdefault(info.name.partition("@")[0], info)
    called |= {info.name: info for info in agents}
    called |= {info.id: info for info in agents}
    if wanted in called:
        return called[wanted]
    known = ", ".join(dict.fromkeys(info.name for info in agents)) or "none"
    raise NotFound(
        f"there is no agent {wanted!r}; there are: {known}",
        hint="`orch agents list --offline` also lists those that are gone",
    )
