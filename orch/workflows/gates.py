"""Gates: how many executions of a workflow, or of one key of it, may be active at a time.

An execution is active from its beginning to its end. It has a slot of each of its gates by
then, which it got in the order of the list, so that no two wait for each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orch.workflows.definition import ConcurrencyPolicy, WorkflowDefinition

GATE_MARK = "gate:"
"""Stands before the id of a gate where else an execution stands: in the watch."""

QUEUE: ConcurrencyPolicy = "queue"
REJECT: ConcurrencyPolicy = "reject"
CANCEL_PREVIOUS: ConcurrencyPolicy = "cancel-previous"


@dataclass(frozen=True)
class Gate:
    """``key``: None for all executions of the workflow."""

    id: str
    limit: int
    policy: str
    key: str | None

    @classmethod
    def of(cls, workflow: str, limit: int, policy: str, key: str | None) -> Gate:
        kind = "a" if key is None else f"k{key}"
        id = hashlib.sha256(f"{workflow}\0{kind}".encode(errors="surrogatepass")).hexdigest()[:16]
        return cls(id, limit, policy, key)

    def member(self, execution: str) -> str:
        """As those that hold a slot, or wait for one, stand in the sets of the gate."""
        return f"{execution} {self.limit} {self.policy}"

    def name(self, workflow: str) -> str:
        of = f"of workflow {workflow!r}"
        return f"concurrency key {self.key!r} {of}" if self.key is not None else f"`maxActive` {of}"


@dataclass(frozen=True)
class Slots:
    """The gates of an execution, and since when it asks for its slots, ms.

    A slot is given back only by who names the same ``since``: one that asks anew, after a retry
    or a pause, has a later one.
    """

    gates: tuple[Gate, ...]
    since: int

    def dumps(self) -> str:
        """As the field `gates` of a record holds it."""
        told = [[gate.id, gate.limit, gate.policy, gate.key] for gate in self.gates]
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def loads(cls, gates: str | None, since: str | int | None) -> Slots | None:
        if not gates:
            return None
        return cls(tuple(Gate(*each) for each in json.loads(gates)), int(since or 0))

    def rejecting(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if gate.policy == REJECT)


@dataclass(frozen=True)
class Place:
    """Who has a slot, or waits for one. ``since``: as of `Slots`."""

    execution: str
    limit: int
    policy: str
    score: int

    @property
    def since(self) -> int:
        return self.score // 1024

    @property
    def member(self) -> str:
        return f"{self.execution} {self.limit} {self.policy}"

    @classmethod
    def of(cls, member: str, score: float) -> Place:
        execution, limit, policy = member.split(" ")
        return cls(execution, int(limit), policy, int(score))


def is_gated(definition: WorkflowDefinition) -> bool:
    """Whether some of its executions may have to ask for a slot."""
    return definition.concurrency is not None or definition.max_active is not None


def make_gates(definition: WorkflowDefinition, workflow: str, key: str | None) -> tuple[Gate, ...]:
    """The gates of an execution with this key; None: it has none."""
    found = []
    if key is not None:
        rule = definition.concurrency
        limit, policy = (rule.limit, rule.policy) if rule is not None else (1, QUEUE)
        found.append(Gate.of(workflow, limit, policy, key))
    most = definition.max_active
    if isinstance(most, int):
        found.append(Gate.of(workflow, most, QUEUE, None))
    elif most is not None:
        found.append(Gate.of(workflow, most.limit, most.policy, None))
    return tuple(found)


def cancelled_by(places: Iterable[Place], waiting: Iterable[Place], new: Place) -> list[str]:
    """Those that have to end for a new one: all that wait before it, and the first that hold a
    slot, until it fits."""
    before = sorted(places, key=lambda place: place.score)
    surplus = max(len(before) - new.limit + 1, 0)
    earlier = [place for place in waiting if place.score < new.score]
    return [place.execution for place in (*earlier, *before[:surplus])]


@dataclass(frozen=True)
class Stand:
    """What the record of an execution says. ``status`` None: there is none. ``held``: it was
    paused before it began."""

    ended: bool
    held: bool
    since: int
    queued: bool

    @classmethod
    def of(cls, found: Mapping[str, str | None], ended: bool) -> Stand:
        return cls(
            ended,
            found.get("held") is not None,
            int(found.get("queued") or 0),
            found.get("status") == "queued",
        )


def is_void(place: Place, stand: Stand | None, now: int, grace: int) -> bool:
    """Whether nobody needs the place: its execution has ended, is held by a pause, or is gone.

    One that asks for its slot before it is stored, or taken up again, has ``grace`` ms for that.
    """
    if stand is None or place.since > stand.since:
        return now - place.since >= grace
    return place.since < stand.since or stand.ended or stand.held
