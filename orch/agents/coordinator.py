"""Who does what: agents that are drained and taken up again, and whose work is given to others."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, Field

from orch.app import BROKER_AWAY, have_look
from orch.control.handing_on import HandingOn
from orch.control.noting import drain_changed
from orch.control.placing import Fleet
from orch.control.runtime import Runtime
from orch.control.status import instant
from orch.control.user import current_user
from orch.errors import InputError, NotFound, Unreachable, WaitTimeout
from orch.workflows.agents import Agent, Drain, agent_queue, is_called, queues_of_agent
from orch.workflows.choosing import draw, weight_of
from orch.workflows.fitting import version_of
from orch.workflows.ranges import VersionRange

ASKED, DRAINING, DRAINED, LEFT = "asked", "draining", "drained", "left"
ONLINE, GONE = "online", "gone"

HEARD_EVERY = 0.1
"""Seconds between looks at an agent that one waits for."""


class DrainedAgent(BaseModel):
    """An agent that is to take nothing new. Instants are ISO 8601 in UTC."""

    agent: str
    status: str = Field(
        description="asked: it has not heard of it yet; draining: it finishes what it has; "
        "drained: it has nothing left; left: it lives no more"
    )
    since: str
    by: str = ""
    stay: bool = Field(False, description="it goes on living, until it is resumed")
    reassign: bool = Field(False, description="steps that name it go to other agents")
    running: list[str] = Field(default_factory=list, description="`execution path` of what it has")
    waiting: int = Field(0, description="messages in its own queues")


class Candidate(BaseModel):
    """An agent that serves a capability, and what is thought of it."""

    agent: str
    chosen: bool = False
    weight: float = Field(description="in proportion to which it gets work")
    load: int = Field(description="steps that it holds")
    concurrency: int
    success_rate: float = Field(ge=0, le=1)
    version: str
    why_not: str = Field("", description="why it may not be chosen")


class AgentBacklog(BaseModel):
    """What waits for one agent alone, and what becomes of it."""

    agent: str
    status: str = Field(description="online, draining or gone")
    capabilities: list[str] = Field(default_factory=list)
    load: int = Field(0, description="steps that it holds")
    concurrency: int = 0
    waiting: int = Field(0, description="messages in its own queues")
    overloaded: bool = Field(False, description="more waits than it does at a time")
    moved: int = Field(0, description="of these, those that others do now")
    kept: int = Field(0, description="those that only it may do, or that must wait for it")


class AgentCoordinator:
    """Steers agents through the journal. ``agent``: the name of a worker, with its host or without.

    Every method may raise Unreachable; those that take an agent NotFound, where no live worker has
    that name, and InputError, where several have.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal

    def drain(
        self,
        agent: str,
        *,
        stay: bool = False,
        reassign: bool = False,
        by: str | None = None,
        timeout: float | None = None,
    ) -> DrainedAgent:
        """Have an agent take nothing new, finish what it has, and leave.

        ``stay``: it stays, drained, until `resume`. ``reassign``: steps that name it go to other
        agents of their capability meanwhile; else they wait for it. ``timeout``: seconds to wait
        until it has left, or has nothing left to do; None: not at all. Raises WaitTimeout, too.
        """
        said = self._live(agent)
        name = _name(said)
        drain = Drain(
            self.journal.clock(),
            by or current_user(),
            str(said["id"]),
            stay=stay,
            reassign=reassign,
        )
        text = f"agent {name} is asked by {drain.by} to take nothing new"
        self.journal.ask_to_drain(name, drain, drain_changed(name, "asked", drain.at, text))
        have_look(self.runtime.app, name)
        return self._look(name, drain) if timeout is None else self._wait(name, drain, timeout)

    def resume(self, agent: str) -> bool:
        """Have a drained agent take messages again. False: it was not drained."""
        names = [name for name in self.journal.read_drains() if is_called(name, agent)]
        if len(names) > 1:
            raise _several(agent, names)
        if not names:
            return False
        said = f"agent {names[0]} is told by {current_user()} to take messages again"
        note = drain_changed(names[0], "ended", self.journal.clock(), said)
        if not self.journal.forget_drain(names[0], note):
            return False
        have_look(self.runtime.app, names[0])
        return True

    def drained(self) -> list[DrainedAgent]:
        """All agents that are to take nothing new."""
        found = self.journal.read_drains().items()
        return [self._look(name, drain) for name, drain in sorted(found)]

    def choose(
        self,
        capability: str,
        *,
        key: str = "",
        versions: str | None = None,
        failed: Collection[str] = (),
    ) -> list[Candidate]:
        """The agents that serve a capability, the chosen one first: by load and past success.

        ``key``: what is to be done; the same gives the same agent as long as nothing changes.
        ``versions``: a range, `>=2,<3`. ``failed``: agents that are not to be chosen. Raises
        NotFound where nobody serves it, InputError.
        """
        wanted = _range(versions)
        self.runtime.placing.forget()
        fleet = self.runtime.placing.fleet()
        serving = [agent for agent in fleet.agents if capability in agent.queues]
        if not serving:
            raise NotFound(
                f"no live agent serves the capability {capability!r}",
                hint=f"start one: `orch worker --capability {capability}`",
            )
        found = []
        for agent in serving:
            version = version_of(fleet.offer(agent, capability))
            why = "has failed at it" if agent.name in failed else ""
            why = why or ("takes nothing new" if agent.name in fleet.drains else "")
            if wanted is not None and not wanted.holds(version):
                why = why or f"version {version}"
            found.append((agent, version, why))
        chosen = draw((agent for agent, _, why in found if not why), key)
        candidates = [_candidate(agent, version, why, chosen) for agent, version, why in found]
        return sorted(
            candidates, key=lambda each: (not each.chosen, bool(each.why_not), -each.weight)
        )

    def balance(self, *, move: bool = False) -> list[AgentBacklog]:
        """What waits for single agents; with ``move``, what others may do goes to them.

        Of an agent that is gone or drained that is all but what names it; of one that has more
        waiting than it does at a time, what asks for a range of versions and no more: a key of
        `affinity` stays where it is while its agent lives.
        """
        placing = self.runtime.placing
        placing.forget()
        fleet = placing.fleet()
        names = {agent.name for agent in fleet.agents} | set(self._queued(fleet.agents))
        with self._connected() as connection:
            depths = {n: HandingOn(self.runtime, connection).depth(n) for n in sorted(names)}
            found = [_backlog(name, depth, fleet) for name, depth in depths.items()]
            overloaded = {each.agent for each in found if each.overloaded}
            for each in found if move else ():
                if not each.waiting or (each.status == ONLINE and not each.overloaded):
                    continue
                handed = HandingOn(self.runtime, connection, overloaded).hand_on(each.agent)
                each.moved, each.kept = handed.moved, handed.kept
        return [each for each in found if each.status != GONE or each.waiting]

    def _queued(self, agents: Iterable[Agent]) -> Iterator[str]:
        """Agents that have a queue and do not live, as far as the queues tell."""
        own = {queue for agent in agents for queue in queues_of_agent(agent.name)}
        mark = agent_queue("")
        for queue in self.journal.read_queues():
            if queue.startswith(mark) and queue not in own:
                yield queue.removeprefix(mark)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            with self.runtime.app.connection_for_write() as connection:
                yield connection
        except BROKER_AWAY as exc:
            raise Unreachable(f"the broker does not answer: {exc}") from exc

    def _wait(self, name: str, drain: Drain, timeout: float) -> DrainedAgent:
        limit = time.monotonic() + timeout
        while True:
            found = self._look(name, drain)
            if found.status == LEFT or (drain.stay and found.status == DRAINED):
                return found
            if time.monotonic() >= limit:
                raise WaitTimeout(
                    f"agent {name} is {found.status} after {timeout:g} s, with "
                    f"{len(found.running)} steps running",
                    hint="it goes on finishing them; wait longer, or `orch why ID` of one of them",
                )
            time.sleep(HEARD_EVERY)

    def _look(self, name: str, drain: Drain) -> DrainedAgent:
        said = next((w for w in self.journal.live_workers() if _name(w) == name), None)
        running = [] if said is None else list(said["holds"])
        if said is None or not drain.means(str(said["id"])):
            status = LEFT
        elif not said.get("draining"):
            status = ASKED
        else:
            status = DRAINING if running else DRAINED
        return DrainedAgent(
            agent=name,
            status=status,
            since=instant(drain.at),
            by=drain.by,
            stay=drain.stay,
            reassign=drain.reassign,
            running=running,
            waiting=self._waiting(name),
        )

    def _waiting(self, name: str) -> int:
        with self._connected() as connection:
            return HandingOn(self.runtime, connection).depth(name)

    def _live(self, agent: str) -> dict[str, Any]:
        workers = self.journal.live_workers()
        found = [worker for worker in workers if is_called(_name(worker), agent)]
        if not found:
            known = ", ".join(sorted(map(_name, workers))) or "none"
            raise NotFound(
                f"no live agent is called {agent!r}; there are: {known}",
                hint="`orch workers` lists them; start one with `orch worker --name NAME`",
            )
        if len(found) > 1:
            raise _several(agent, [_name(worker) for worker in found])
        return found[0]


def _range(versions: str | None) -> VersionRange | None:
    try:
        return None if versions is None else VersionRange(versions)
    except ValueError as exc:
        raise InputError(str(exc)) from exc


def _candidate(agent: Agent, version: str, why: str, chosen: Agent | None) -> Candidate:
    return Candidate(
        agent=agent.name,
        chosen=agent is chosen,
        weight=round(weight_of(agent), 3),
        load=agent.load,
        concurrency=agent.concurrency,
        success_rate=round(agent.success, 4),
        version=version,
        why_not=why,
    )


def _backlog(name: str, waiting: int, fleet: Fleet) -> AgentBacklog:
    agent = next((each for each in fleet.agents if each.name == name), None)
    if agent is None:
        return AgentBacklog(agent=name, status=GONE, waiting=waiting)
    return AgentBacklog(
        agent=name,
        status=DRAINING if name in fleet.drains else ONLINE,
        capabilities=sorted(agent.queues),
        load=agent.load,
        concurrency=agent.concurrency,
        waiting=waiting,
        overloaded=waiting > agent.concurrency,
    )


def _name(said: dict[str, Any]) -> str:
    return str(said.get("name") or said["id"])


def _several(agent: str, names: Sequence[str]) -> InputError:
    return InputError(
        f"{agent!r} may be any of {', '.join(sorted(names))}", hint="give the name with its host"
    )
