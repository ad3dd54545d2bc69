"""Reading executions: records, states, histories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic.dataclasses import dataclass as checked

from orch.errors import NotFound
from orch.journal.connection import Connection
from orch.workflows.beat import Beat
from orch.workflows.calls import Call
from orch.workflows.entries import Unpacker
from orch.workflows.escalation import Escalation
from orch.workflows.gates import Slots
from orch.workflows.holes import Hole, load_holes
from orch.workflows.message import Address, address_field
from orch.workflows.paths import iteration_path
from orch.workflows.pausing import load_pauses
from orch.workflows.resolving import load_resolutions
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from orch.workflows.traces import TRACE_FIELD
from orch.workflows.usage import USED_FIELD, Usage, usage_by_path
from orch.workflows.view import (
    ALL_VARIABLES,
    CANCEL_FIELD,
    CAUSE_FIELD,
    FAILING_FIELD,
    INPUT_FIELD,
    ITEM_MARK,
    PRIORITY_FIELD,
    PROJECT_FIELD,
    WORKFLOW_FIELD,
    View,
    cancelled_by,
    page_of,
    parse_item_field,
)

HISTORIES_READ = 100
"""Histories that are read at a time."""

ITEMS_READ = 1000
"""Items of a map whose results are read at a time."""


@checked(frozen=True)
class HistoryEntry:
    """One event of an execution. ``at``: ms since the epoch."""

    at: int
    event: str
    path: str
    attempt: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "event": self.event,
            "path": self.path,
            "attempt": self.attempt,
            "detail": dict(self.detail),
        }


class Follower:
    """Reads the history of one execution while it is written. ``seen``: how many events."""

    def __init__(self) -> None:
        self.seen = 0
        self._unpacker = Unpacker()

    def add(self, texts: Sequence[str]) -> list[HistoryEntry]:
        """The entries that follow, as Redis gives them."""
        self.seen += len(texts)
        return [HistoryEntry(*entry) for entry in self._unpacker.read(texts)]


@dataclass(frozen=True)
class Record:
    """The record of an execution; JSON texts decoded. Instants in ms since the epoch."""

    id: str
    workflow: str
    version: str
    plan: str
    status: ExecutionStatus
    created: int
    ended: int
    input: Any
    output: Any
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None
    parent: str | None = None  # the execution that called it
    beats: Mapping[str, Beat] = field(default_factory=dict)  # path -> its last heartbeat
    pauses: Mapping[str, int] = field(default_factory=dict)  # branches -> paused since, ms
    cancel: Mapping[str, Any] | None = None  # of one that unwinds from outside: see `Family`
    origin: Mapping[str, Any] | None = None  # of a rerun or a fork: execution, path, by, at (ms)
    at: int = 0  # when it was to begin
    begun: int = 0  # when it began, if that was not when it was created
    attributes: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    project: str = ""
    slots: Slots | None = None
    escalations: Mapping[str, Escalation] = field(default_factory=dict)  # by the step's path
    holes: Mapping[str, tuple[Hole, ...]] = field(default_factory=dict)
    resolutions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it went on without, by the path of the step that did."""
    used: Usage = field(default_factory=Usage)
    usage: Mapping[str, Usage] = field(default_factory=dict)  # by the step's path
    addresses: Mapping[str, Address] = field(default_factory=dict)
    """Where the messages of steps go that rules may send elsewhere, by the step's path."""
    trace: str = ""  # the context that it was started with, a `traceparent`

    def duration(self, now: int) -> int:
        """Ms from its beginning to its end, or to ``now``; 0 if it has not begun."""
        if (self.at or self.slots) and not self.begun:
            return 0
        return (self.ended or now) - (self.begun or self.created)


@dataclass(frozen=True)
class Pending:
    """What must be known of an execution that has not begun. Instants in ms, 0: none."""

    id: str
    status: ExecutionStatus
    plan: str
    at: int
    deadline: int
    within: int
    parent: Call | None
    slots: Slots | None = None
    workflow: str = ""


@dataclass(frozen=True)
class Family:
    """What a parent and its child must know of each other. Texts are JSON."""

    status: ExecutionStatus
    plan: str
    deadline: int  # ms since the epoch, 0: none
    parent: Call | None
    depth: int
    output: str | None
    error: str | None
    cancel: Mapping[str, Any] | None = None  # message, by, at and until (ms)
    pauses: Mapping[str, int] = field(default_factory=dict)  # branches -> paused since, ms
    slots: Slots | None = None
    failing: Mapping[str, Any] | None = None  # the error of one that is compensated before it fails
    used: Usage = field(default_factory=Usage)
    project: str = ""
    trace: str = ""  # the context that it was started with, a `traceparent`


@dataclass(frozen=True)
class Ending:
    """How an execution has ended. ``error``: {} where it completed."""

    status: ExecutionStatus
    output: Any
    error: Mapping[str, Any]


@dataclass(frozen=True)
class Whole:
    """``fields``: of the steps' hash, see `Records.steps`. ``canaries``: whether there are any, of
    any workflow."""

    record: Record
    fields: dict[str, str]
    history: list[HistoryEntry]
    canaries: bool


class Records(Connection):
    """What the journal knows of executions. Every method may raise Unreachable."""

    def read_state(self, execution: str, path: str) -> tuple[str, StepState] | None:
        """The state of a token, as text and decoded; None when there is none."""
        text = self.read(self.redis.hget, self.keys.steps(execution), path)
        return None if text is None else (str(text), StepState.loads(text))

    def output_of(self, execution: str, path: str) -> str | None:
        """JSON of the output of a step; None when it has none."""
        found = self.read(self.redis.hget, self.keys.steps(execution), f"={path}")
        return None if found is None else str(found)

    def read_states(self, execution: str, paths: Sequence[str]) -> list[str | None]:
        """The states of tokens, as texts; None where there is none."""
        if not paths:
            return []
        return list(self.read(self.redis.hmget, self.keys.steps(execution), list(paths)))

    def running(self, execution: str) -> list[tuple[str, StepState]]:
        """The tokens that some worker holds, and their states. Reads all steps."""
        found = (
            (path, StepState.loads(text))
            for path, text in self.steps(execution).items()
            if path[0] not in "=!?"
        )
        return [(path, state) for path, state in found if state.status is StepStatus.RUNNING]

    def plan_of(self, execution: str) -> str | None:
        """The key of the plan of an execution; None when it is not there."""
        found = self.read(self.redis.hget, self.keys.record(execution), "plan")
        return None if found is None else str(found)

    def read_family(self, execution: str) -> Family | None:
        """The place of an execution in its family; None when it is not there."""
        names = [
            "status",
            "plan",
            "deadline",
            "parent",
            "depth",
            "output",
            "error",
            "cancel",
            "pauses",
            "gates",
            "queued",
            "failing",
            USED_FIELD,
            PROJECT_FIELD,
            TRACE_FIELD,
        ]
        found = self.read(self.redis.hmget, self.keys.record(execution), names)
        if found[0] is None:
            return None
        return Family(
            status=ExecutionStatus(found[0]),
            plan=found[1],
            deadline=int(found[2] or 0),
            parent=Call.loads(found[3]) if found[3] else None,
            depth=int(found[4] or 0),
            output=found[5],
            error=found[6],
            cancel=json.loads(found[7]) if found[7] else None,
            pauses=load_pauses(found[8]),
            slots=Slots.loads(found[9], found[10]),
            failing=json.loads(found[11]) if found[11] else None,
            used=Usage.loads(found[12]),
            project=found[13] or "",
            trace=found[14] or "",
        )

    def read_pending(self, execution: str) -> Pending | None:
        """None for one that has begun, is held by a pause, has ended, or is not there."""
        names = ["status", "plan", "at", "deadline", "within", "parent", "gates", "queued"]
        names.append(WORKFLOW_FIELD)
        found = self.read(self.redis.hmget, self.keys.record(execution), names)
        if found[0] is None or ExecutionStatus(found[0]).begun:
            return None
        at, deadline, within = (int(text or 0) for text in found[2:5])
        parent = Call.loads(found[5]) if found[5] else None
        status, slots = ExecutionStatus(found[0]), Slots.loads(found[6], found[7])
        limits = (at, deadline, within)
        return Pending(execution, status, found[1], *limits, parent, slots, found[8] or "")

    def has_steps(self, execution: str) -> bool:
        """Whether any step of it was ever written."""
        return bool(self.read(self.redis.exists, self.keys.steps(execution)))

    def priority_of(self, execution: str) -> int:
        """How urgent the messages of an execution are."""
        return int(self.read(self.redis.hget, self.keys.record(execution), PRIORITY_FIELD) or 0)

    def read_addresses(self, execution: str, paths: Sequence[str]) -> dict[str, Address]:
        """Where the messages of these steps go; a step that is not told was not entered."""
        fields = [address_field(path) for path in paths]
        found = self.read(self.redis.hmget, self.keys.record(execution), fields)
        return {
            path: Address.loads(text)
            for path, text in zip(paths, found, strict=True)
            if text is not None
        }

    def read_limits(self, execution: str) -> tuple[int, int]:
        """The deadline (ms) and the time (ms) that were given with its start; 0: none."""
        found = self.read(self.redis.hmget, self.keys.record(execution), ["until", "within"])
        return int(found[0] or 0), int(found[1] or 0)

    def read_view(self, execution: str, reads: Sequence[str]) -> View:
        """What a claim would give, without claiming."""
        fields, items = split_reads(reads)
        pages: list[str | None] = []
        if items:
            pages = self.read(self.redis.hmget, self.keys.items(execution), pages_with(items))
        found = list(zip(items, pages, strict=True))
        if ALL_VARIABLES in fields:
            everything = self.read(self.redis.hgetall, self.keys.record(execution))
            return make_view(execution, [*everything.items(), *found])
        values = self.read(self.redis.hmget, self.keys.record(execution), fields)
        return make_view(execution, [*zip(fields, values, strict=True), *found])

    def read_branches(
        self, execution: str, scopes: Sequence[str]
    ) -> tuple[tuple[Any, Mapping[str, Any] | None] | None, ...]:
        """(output, failure) of each branch or iteration; None for one that did not end."""
        return _results(self._ends(self.keys.steps(execution), scopes))

    def read_items(
        self, execution: str, scopes: Sequence[str]
    ) -> tuple[tuple[tuple[Any, Mapping[str, Any] | None] | None, ...], int, int]:
        """As `read_branches`, of the items of a map; bytes of JSON of outputs, and of failures.

        If the outputs are more than `output_limit`, they are None.
        """
        texts: list[str | None] = []
        sizes = [0, 0]
        for first in range(0, len(scopes), ITEMS_READ):
            page = self._ends(self.keys.items(execution), scopes[first : first + ITEMS_READ])
            for kind in (0, 1):
                told = (text for text in page[kind::2] if text is not None)
                sizes[kind] += sum(len(text.encode()) + 1 for text in told)
            if sizes[0] > self.settings.output_limit:
                texts[::2] = [text and "null" for text in texts[::2]]
                page[::2] = [text and "null" for text in page[::2]]
            texts += page if sizes[1] <= self.settings.output_limit else []
        return _results(texts), sizes[0], sizes[1]

    def read_ends(self, execution: str) -> dict[str, str]:
        """How the items of maps ended: `=scope` -> '', `!scope` -> its failure.

        `@scope` -> what is to be done at the turn of an item, or a branch, that waits to be tried
        again.
        """
        key = self.keys.items(execution)
        names = [name for name in self.read(self.redis.hkeys, key) if name[0] in "=!@"]
        found = dict.fromkeys((name for name in names if name[0] == "="), "")
        told = [name for name in names if name[0] != "="]
        for first in range(0, len(told), ITEMS_READ):
            page = told[first : first + ITEMS_READ]
            texts = self.read(self.redis.hmget, key, page)
            found |= {n: text for n, text in zip(page, texts, strict=True) if text is not None}
        return found

    def read_results(self, execution: str, path: str, total: int) -> Iterator[Any]:
        """The results of a map that are kept beside its output, in item order.

        Raises NotFound where they are gone, with the execution.
        """
        for first in range(0, total, ITEMS_READ):
            numbers = range(first, min(first + ITEMS_READ, total))
            names = [f"={iteration_path(path, number)}" for number in numbers]
            texts = self.read(self.redis.hmget, self.keys.items(execution), names)
            if not any(texts) and self.status(execution) is None:
                self.record(execution)  # raises, with the sentence
            yield from (json.loads(text) if text is not None else None for text in texts)

    def _ends(self, key: str, scopes: Sequence[str]) -> list[str | None]:
        names = [f"{mark}{scope}" for scope in scopes for mark in "=!"]
        return list(self.read(self.redis.hmget, key, names))

    def record(self, execution: str) -> Record:
        """Raises NotFound when the execution is not there (or no longer)."""
        return self._record(execution, self.read(self.redis.hgetall, self.keys.record(execution)))

    def _record(self, execution: str, found: Mapping[str, str]) -> Record:
        if not found:
            raise self._not_found(execution)
        return _record(execution, found)

    def _not_found(self, execution: str) -> NotFound:
        return NotFound(
            f"no execution {execution!r} in Redis at {self.url}",
            hint="`orch list` shows those that are there; ended ones are kept for "
            f"{self.settings.retention / 86400:g} days",
        )

    def whole(self, execution: str) -> Whole:
        """All of an execution, in one round trip. Raises NotFound."""
        record, fields, history, canaries = self.read(
            self.wire.read_all,
            ("HGETALL", self.keys.record(execution)),
            ("HGETALL", self.keys.steps(execution)),
            ("LRANGE", self.keys.history(execution), 0, -1),
            ("EXISTS", self.keys.canaries()),
        )
        return Whole(
            self._record(execution, _as_hash(record)),
            _as_hash(fields),
            read_entries(history),
            bool(canaries),
        )

    def steps(self, execution: str) -> dict[str, str]:
        """All fields of the steps' hash: states, outputs (`=path`), failures (`!path`)."""
        return dict(self.read(self.redis.hgetall, self.keys.steps(execution)))

    def history(self, execution: str) -> list[HistoryEntry]:
        """Events of an execution, oldest first."""
        texts = self.read(self.redis.lrange, self.keys.history(execution), 0, -1)
        return read_entries(texts)

    def follower(self) -> Follower:
        """For `news` of one execution, from its beginning on."""
        return Follower()

    def news(self, execution: str, follower: Follower) -> list[HistoryEntry]:
        """Events since the follower looked last."""
        key = self.keys.history(execution)
        return follower.add(self.read(self.redis.lrange, key, follower.seen, -1))

    def told(self, execution: str) -> int:
        """How many events its history has."""
        return int(self.read(self.redis.llen, self.keys.history(execution)))

    def told_of(self, executions: Sequence[str]) -> list[int]:
        """How many events the history of each of many executions has."""
        pipe = self.redis.pipeline(transaction=False)
        for execution in executions:
            pipe.llen(self.keys.history(execution))
        return [int(count) for count in self.read(pipe.execute)] if executions else []

    def histories(self, executions: Sequence[str]) -> Iterator[list[HistoryEntry]]:
        """The events of each of many executions."""
        for first in range(0, len(executions), HISTORIES_READ):
            pipe = self.redis.pipeline(transaction=False)
            for execution in executions[first : first + HISTORIES_READ]:
                pipe.lrange(self.keys.history(execution), 0, -1)
            yield from map(read_entries, self.read(pipe.execute))

    def status(self, execution: str) -> ExecutionStatus | None:
        key = self.keys.record(execution)
        found = self.read(self.wire.execute_command, "HGET", key, "status")
        return None if found is None else ExecutionStatus(found)

    def ending(self, execution: str) -> Ending | None:
        """How an execution has ended; None: it has not. Raises NotFound."""
        key = self.keys.record(execution)
        status, output, error = self.read(
            self.wire.execute_command, "HMGET", key, "status", "output", "error"
        )
        if status is None:
            raise self._not_found(execution)
        if not ExecutionStatus(status).ended:
            return None
        return Ending(
            ExecutionStatus(status), json.loads(output or "null"), json.loads(error or "{}")
        )

    def mark(self, execution: str, queue: str) -> int:
        """The latest dispatch instant (ms) of which a claim was seen on ``queue``, or 0."""
        key = self.keys.marks(self.keys.partition(execution))
        return int(self.read(self.redis.hget, key, queue) or 0)


def _results(
    texts: Sequence[str | None],
) -> tuple[tuple[Any, Mapping[str, Any] | None] | None, ...]:
    return tuple(
        None
        if output is None and failure is None
        else (json.loads(output or "null"), json.loads(failure or "null"))
        for output, failure in zip(texts[::2], texts[1::2], strict=True)
    )


def read_entries(texts: Iterable[str]) -> list[HistoryEntry]:
    """The entries of a history, from its first one on, as Redis gives them."""
    return Follower().add(list(texts))


def split_reads(reads: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is asked for: fields of the record, and items of maps."""
    items = [name for name in reads if name.startswith(ITEM_MARK)]
    return [name for name in reads if not name.startswith(ITEM_MARK)], items


def pages_with(items: Iterable[str]) -> list[str]:
    """The pages that hold these items."""
    return [page_of(parse_item_field(name)[0])[0] for name in items]


def make_view(execution: str, fields: Iterable[tuple[str, Any]]) -> View:
    """Fields of the record, and pages of items -> View; other fields are left aside."""
    variables: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    items: dict[str, tuple[str, Any]] = {}
    states: dict[str, Any] = {}
    beats: dict[str, Beat] = {}
    escalations: dict[str, Escalation] = {}
    addresses: dict[str, Address] = {}
    found: dict[str, Any] = {}
    for name, text in fields:
        if text is None:
            continue
        if name == ALL_VARIABLES:
            variables.update(
                (key[2:], json.loads(value))
                for key, value in zip(text[::2], text[1::2], strict=True)
            )
        elif name.startswith("v:"):
            variables[name[2:]] = json.loads(text)
        elif name.startswith("o:"):
            outputs[name[2:]] = json.loads(text)
        elif name.startswith("e:"):
            errors[name[2:]] = json.loads(text)
        elif name.startswith(ITEM_MARK):
            scope, called = parse_item_field(name)
            items[scope] = (called, json.loads(text)[page_of(scope)[1]])
        elif name.startswith("p:"):
            states[name[2:]] = json.loads(text)
        elif name.startswith("b:"):
            beats[name[2:]] = Beat.loads(text)
        elif name.startswith("g:"):
            escalations[name[2:]] = Escalation.loads(text)
        elif name.startswith("m:"):
            addresses[name[2:]] = Address.loads(text)
        elif name in (INPUT_FIELD, CAUSE_FIELD, FAILING_FIELD, CANCEL_FIELD):
            found[name] = json.loads(text)
        elif name in (WORKFLOW_FIELD, PRIORITY_FIELD, PROJECT_FIELD):
            found[name] = text
    ending = found.get(FAILING_FIELD)
    if ending is None and CANCEL_FIELD in found:
        ending = cancelled_by(found[CANCEL_FIELD])
    return View(
        execution,
        found.get(WORKFLOW_FIELD, ""),
        input=found.get(INPUT_FIELD),
        variables=variables,
        outputs=outputs,
        errors=errors,
        states=states,
        cause=found.get(CAUSE_FIELD),
        ending=ending,
        priority=int(found.get(PRIORITY_FIELD, 0)),
        project=found.get(PROJECT_FIELD, ""),
        items=items,
        beats=beats,
        escalations=escalations,
        addresses=addresses,
    )


def _as_hash(found: Any) -> dict[str, str]:
    """What HGETALL gives: a map, or names and values where the connection speaks RESP2."""
    return found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))


def _record(execution: str, found: Mapping[str, str]) -> Record:
    view = make_view(execution, found.items())
    return Record(
        id=execution,
        workflow=found["workflow"],
        version=found["version"],
        plan=found["plan"],
        status=ExecutionStatus(found["status"]),
        created=int(found["created"]),
        ended=int(found.get("ended", 0)),
        input=view.input,
        output=json.loads(found["output"]) if "output" in found else None,
        variables=view.variables,
        error=json.loads(found.get("error") or found.get("failing") or "null"),
        parent=Call.loads(found["parent"]).execution if "parent" in found else None,
        beats=view.beats,
        escalations=view.escalations,
        addresses=view.addresses,
        cancel=json.loads(found["cancel"]) if "cancel" in found else None,
        pauses=load_pauses(found.get("pauses")),
        origin=json.loads(found["origin"]) if "origin" in found else None,
        at=int(found.get("at", 0)),
        begun=int(found.get("begun", 0)),
        attributes=json.loads(found.get("attributes", "{}")),
        priority=view.priority,
        project=view.project,
        trace=found.get(TRACE_FIELD, ""),
        slots=Slots.loads(found.get("gates"), found.get("queued")),
        holes=load_holes(found),
        resolutions=load_resolutions(found),
        used=Usage.loads(found.get(USED_FIELD)),
        usage=usage_by_path(found),
    )
