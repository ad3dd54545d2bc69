"""What is shown of agents, and of what they offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orch.journal.agents import AgentRecord, Sums
from orch.workflows.agents import Tallied
from orch.workflows.declared import FIRST_VERSION


class AgentStatus(StrEnum):
    """How an agent is."""

    ONLINE = "online"  # it lives, and takes work
    BUSY = "busy"  # it lives, and has as much to do as it takes
    OFFLINE = "offline"  # it is gone, or has not been heard of in time
    ERROR = "error"  # it says nothing, and is still connected: frozen, or starved


class AgentInfo(BaseModel):
    """An agent, as those who choose among agents see it. Instants are ISO 8601 in UTC.

    What it did is counted under its name: a restart does not begin anew.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="of its present life; of one outside of Celery, its own")
    name: str
    type: str = ""
    status: AgentStatus
    capabilities: list[str] = Field(default_factory=list, description="that it serves now")
    load_factor: float = Field(0.0, ge=0, le=1, description="1: it takes no more")
    task_count: int = Field(0, description="calls that have ended, of all that is remembered")
    success_rate: float = Field(1.0, ge=0, le=1, description="share of them that went well")
    average_task_duration: float = Field(0.0, description="of a call, ms")
    last_seen_time: str | None = None
    versions: dict[str, str] = Field(default_factory=dict, description="of its capabilities")
    queues: list[str] = Field(default_factory=list)
    concurrency: int | None = Field(None, description="calls at a time")
    running: int = Field(0, description="steps that it holds")
    host: str | None = None
    draining: bool = Field(False, description="whether it finishes what it has, and takes no more")
    outside: bool = Field(False, description="whether it is no worker, but was registered")


class AgentCapability(BaseModel):
    """A capability, as an agent offers it. Schemas are JSON Schemas; None: it does not say."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str = FIRST_VERSION
    description: str = ""
    input: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    timeout: float | None = Field(None, description="of an attempt, s")
    retry: dict[str, Any] | None = None
    cost: float | None = None
    concurrency: int | None = None
    rate_limit: str | None = None
    idempotent: bool = True


def info_of_worker(
    said: Mapping[str, Any],
    record: AgentRecord,
    offered: Mapping[str, Mapping[str, Any]],
    *,
    silent: bool = False,
) -> AgentInfo:
    """Of a live worker. ``said``: its sign of life; ``offered``: what its code has."""
    slots, held = said.get("concurrency") or 1, len(said.get("holds", ()))
    load = min(1.0, held / slots)
    status = AgentStatus.BUSY if load >= 1 else AgentStatus.ONLINE
    queues = list(said.get("queues", ()))
    served = [name for name in queues if name in offered]
    return AgentInfo(
        id=said["id"],
        name=record.name,
        type=said.get("type") or "",
        status=AgentStatus.ERROR if silent else status,
        capabilities=served,
        load_factor=round(load, 3),
        last_seen_time=instant(said.get("at", 0)),
        versions={name: offered[name].get("version", FIRST_VERSION) for name in served},
        queues=queues,
        concurrency=said.get("concurrency"),
        running=held,
        host=said.get("host"),
        draining=bool(said.get("draining")),
        **figures(record.sums({said["id"]: sums_of(said.get("tally") or {})})),
    )


def info_of_record(record: AgentRecord) -> AgentInfo:
    """Of an agent that is gone."""
    about = record.about
    return AgentInfo(
        id=record.name,
        name=record.name,
        type=about.get("type", ""),
        status=AgentStatus.OFFLINE,
        last_seen_time=instant(record.seen),
        host=about.get("host"),
        **figures(record.sums({})),
    )


def sums_of(tally: Mapping[str, Iterable[Any]]) -> Sums:
    """Calls, failures and seconds over all capabilities of a sign of life."""
    found = [Tallied.of(list(each)) for each in tally.values()]
    calls, failures = sum(t.calls for t in found), sum(t.failures for t in found)
    return calls, failures, sum(t.seconds for t in found)


def figures(sums: Sums) -> dict[str, Any]:
    """What an `AgentInfo` shows of what an agent has done."""
    calls, failures, seconds = sums
    return {
        "task_count": calls,
        "success_rate": round(1 - failures / calls, 4) if calls else 1.0,
        "average_task_duration": round(seconds * 1000 / calls, 3) if calls else 0.0,
    }


def instant(ms: int) -> str | None:
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
