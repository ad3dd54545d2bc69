"""What managers note of their changes, for the memory."""

from __future__ import annotations

from orch.journal.versions import Canary, Defined
from orch.workflows.note import Note

SHORT = 12
"""Characters of a version that tell it from others."""


def defined(name: str, version: str, said: Defined) -> Note:
    """A version of a workflow is new."""
    label = f" ({said.label})" if said.label else ""
    what = f"for execution {said.execution}" if said.execution else f"by {said.by}"
    return Note(
        f"version:{name}:{version}",
        "WORKFLOW",
        f"{name} has a new version {version[:SHORT]}{label}, defined {what}",
        said.at,
        ["event:defined", *_of(name, version)],
        f"workflow:{name}",
        {"workflow": name, "version": version, "by": said.by},
    )


def canary_changed(name: str, canary: Canary, word: str, by: str, at: int) -> Note:
    """``word``: set, stopped or promoted."""
    said = {
        "set": f"{canary.percent:g} % of the new executions of {name} get it",
        "stopped": f"no new execution of {name} gets it any more",
        "promoted": f"all new executions of {name} get it",
    }[word]
    return Note(
        f"canary:{name}:{word}:{at}",
        "WORKFLOW",
        f"canary {canary.version[:SHORT]} is {word} by {by}: {said}",
        at,
        [f"event:canary-{word}", *_of(name, canary.version)],
        f"workflow:{name}",
        {"workflow": name, "version": canary.version, "percent": canary.percent, "by": by},
    )


def schedule_changed(name: str, workflow: str, word: str, by: str, at: int, why: str) -> Note:
    """``word``: added, changed, paused, resumed or removed."""
    return Note(
        f"schedule:{name}:{word}:{at}",
        "WORKFLOW",
        f"schedule {name} of {workflow} was {word} by {by}" + (f": {why}" if why else ""),
        at,
        [f"event:schedule-{word}", f"workflow:{workflow}", f"schedule:{name}"],
        f"schedule:{name}",
        {"schedule": name, "workflow": workflow, "by": by, "note": why},
    )


def agent_changed(agent: str, word: str, at: int, said: str, *capabilities: str) -> Note:
    """``word``: registered, unregistered, came or left."""
    return Note(
        f"agent:{agent}:{word}:{at}",
        "AGENT",
        said,
        at,
        [f"event:agent-{word}", f"agent:{agent}", *(f"capability:{each}" for each in capabilities)],
        f"agent:{agent}",
        {"agent": agent, "capabilities": list(capabilities)},
    )


def drain_changed(agent: str, word: str, at: int, said: str) -> Note:
    """``word``: asked, ended or handed-on."""
    return Note(
        f"drain:{agent}:{word}:{at}",
        "COORD",
        said,
        at,
        [f"event:drain-{word}", f"agent:{agent}"],
        f"agent:{agent}",
        {"agent": agent},
    )


def resource_changed(name: str, capacity: int | None, by: str, at: int) -> Note:
    """``capacity`` None: it was removed."""
    word = "removed" if capacity is None else "defined"
    said = f"resource {name} was removed by {by}"
    if capacity is not None:
        said = f"there are {capacity} of resource {name} from now on, says {by}"
    return Note(
        f"resource:{name}:{word}:{at}",
        "RESOURCE",
        said,
        at,
        [f"event:resource-{word}", f"resource:{name}"],
        f"resource:{name}",
        {"resource": name, "capacity": capacity, "by": by},
    )


def service_changed(name: str, word: str, by: str, at: int) -> Note:
    """``word``: registered or removed."""
    return Note(
        f"service:{name}:{word}:{at}",
        "RESOURCE",
        f"service {name} was {word} by {by}",
        at,
        [f"event:service-{word}", f"service:{name}"],
        f"service:{name}",
        {"service": name, "by": by},
    )


def webhook_changed(id: str, event: str, word: str, by: str, at: int) -> Note:
    """``word``: registered or removed. The URL is not told: it may be a secret itself."""
    return Note(
        f"webhook:{id}:{word}:{at}",
        "RESOURCE",
        f"webhook {id} of {event} was {word} by {by}",
        at,
        [f"event:webhook-{word}", f"webhook:{id}"],
        f"webhook:{id}",
        {"webhook": id, "event": event, "by": by},
    )


def _of(name: str, version: str) -> list[str]:
    return [f"workflow:{name}", f"version:{version}"]
