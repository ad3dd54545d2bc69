"""What each capability has to do, and how many workers that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from orch.control.backlog import Backlog, read_backlogs
from orch.control.runtime import Runtime
from orch.monitoring.advice import Aim, Load, advised_workers, drain_time
from orch.workflows.agents import Tallied
from orch.workflows.notices import ESCALATION_QUEUE

SLOTS = 4
"""Of a worker that is to be started, where none serves the capability yet."""


class CapabilityLoad(BaseModel):
    """One capability, or queue, as it stands. Times are seconds."""

    capability: str
    depth: int = Field(description="messages in its queue")
    oldest: float | None = Field(None, description="for how long the oldest step waits")
    busy: int = Field(0, description="steps that run")
    workers: int = Field(0, description="live workers that serve it")
    slots: int = Field(0, description="steps that they can run at the same time, all in all")
    duration: float | None = Field(None, description="mean of a call; null: not timed yet")
    rate: float | None = Field(None, description="calls that end per second")
    drain: float | None = Field(None, description="until the queue is empty; null: not known")
    advised: int = Field(0, description="workers that empty it within the target")


class Scaling:
    """Reads the load of capabilities. Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def read(
        self,
        capabilities: Sequence[str] = (),
        aim: Aim | None = None,
        live: Sequence[dict[str, Any]] | None = None,
    ) -> list[CapabilityLoad]:
        """Those that workers serve or that have a queue, by name; or the ones asked for.

        ``live``: what live workers said last, where that was read already.
        """
        aim = aim or Aim()
        live = self.runtime.journal.live_workers() if live is None else live
        names = list(capabilities) or self._known(live)
        backlogs = read_backlogs(self.runtime, names)
        found = []
        for name in names:
            load = _load(backlogs[name], name, live)
            found.append(_shown(name, load, backlogs[name], _advised([load], aim)))
        return found

    def advise(self, capabilities: Sequence[str], aim: Aim | None = None) -> int:
        """How many workers are needed that serve all of some capabilities."""
        aim, live = aim or Aim(), self.runtime.journal.live_workers()
        backlogs = read_backlogs(self.runtime, capabilities)
        return _advised([_load(backlogs[name], name, live) for name in capabilities], aim)

    def _known(self, live: Sequence[dict[str, Any]]) -> list[str]:
        served = {str(name) for said in live for name in said["queues"]}
        queues = set(self.runtime.journal.read_queues())
        return sorted((served | queues) - {ESCALATION_QUEUE})


def advised_for(name: str, depth: int, live: Sequence[Mapping[str, Any]], least: int = 0) -> int:
    """How many workers a capability needs, of which so many messages wait, as live ones say."""
    return _advised([_load(Backlog(depth), name, live)], Aim(least=least))


def _advised(loads: Sequence[Load], aim: Aim) -> int:
    served = [load for load in loads if load.workers]
    slots = round(fmean(load.slots / load.workers for load in served)) if served else SLOTS
    return advised_workers(
        loads,
        target=aim.target,
        per_worker=aim.slots or slots,
        least=aim.least,
        most=aim.most,
    )


def _load(backlog: Backlog, name: str, live: Sequence[Mapping[str, Any]]) -> Load:
    serving = [said for said in live if name in said["queues"]]
    tallies = [Tallied.of(said["tally"][name]) for said in serving if name in said["tally"]]
    durations = [each.duration for each in tallies if each.duration is not None]
    return Load(
        depth=backlog.depth,
        busy=sum(each.busy for each in tallies),
        slots=sum(int(said.get("concurrency") or 1) for said in serving),
        workers=len(serving),
        duration=fmean(durations) if durations else None,
        rate=sum(each.rate for each in tallies) if tallies else None,
    )


def _shown(name: str, load: Load, backlog: Backlog, advised: int) -> CapabilityLoad:
    return CapabilityLoad(
        capability=name,
        depth=load.depth,
        oldest=backlog.age,
        busy=load.busy,
        workers=load.workers,
        slots=load.slots,
        duration=load.duration,
        rate=load.rate,
        drain=drain_time(load),
        advised=advised,
    )
