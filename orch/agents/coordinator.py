"""Who does what: agents that are drained and taken up again, and whose work is given to others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from orch.app import BROKER_AWAY, have_look
from orch.control.handing_on import HandingOn
from orch.control.runtime import Runtime
from orch.control.status import instant
from orch.control.user import current_user
from orch.errors import InputError, NotFound, Unreachable, WaitTimeout
from orch.workflows.agents import Drain, is_called

ASKED, DRAINING, DRAINED, LEFT = "asked", "draining", "drained", "left"

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
        self.journal.ask_to_drain(name, drain)
        have_look(self.runtime.app, name)
        return self._look(name, drain) if timeout is None else self._wait(name, drain, timeout)

    def resume(self, agent: str) -> bool:
        """Have a drained agent take messages again. False: it was not drained."""
        names = [name for name in self.journal.read_drains() if is_called(name, agent)]
        if len(names) > 1:
            raise _several(agent, names)
        if not names or not self.journal.forget_drain(names[0]):
            return False
        have_look(self.runtime.app, names[0])
        return True

    def drained(self) -> list[DrainedAgent]:
        """All agents that are to take nothing new."""
        found = self.journal.read_drains().items()
        return [self._look(name, drain) for name, drain in sorted(found)]

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
        try:
            with self.runtime.app.connection_for_read() as connection:
                return HandingOn(self.runtime, connection).depth(name)
        except BROKER_AWAY as exc:
            raise Unreachable(f"the broker does not answer: {exc}") from exc

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


def _name(said: dict[str, Any]) -> str:
    return str(said.get("name") or said["id"])


def _several(agent: str, names: Sequence[str]) -> InputError:
    return InputError(
        f"{agent!r} may be any of {', '.join(sorted(names))}", hint="give the name with its host"
    )
