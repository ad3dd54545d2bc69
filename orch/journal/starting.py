"""Transitions that begin an execution: at once, many together, later, when it has its slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.journal.arguments import (
    end_fields,
    end_of,
    error_head,
    listeners,
    opened_tokens,
    subscriptions,
)
from orch.journal.counting import counts_of_start
from orch.journal.heads import error_name, members_of
from orch.journal.indexing import Indexing
from orch.journal.lives import Lives
from orch.journal.records import Pending
from orch.journal.scripts import Behind, flat
from orch.journal.start_template import StartTemplate, make_template
from orch.journal.wire import Command
from orch.workflows.calls import Call
from orch.workflows.commit import Event, Transition
from orch.workflows.gates import Slots
from orch.workflows.state import ExecutionStatus, encode
from orch.workflows.traces import TRACE_FIELD
from orch.workflows.view import INPUT_FIELD, PRIORITY_FIELD, PROJECT_FIELD, WORKFLOW_FIELD


@dataclass(frozen=True)
class Start:
    """All that a new execution is made of. ``at``: it begins later, ms; ``slots``: when it has
    them; then ``transition`` is what is written of it before."""

    id: str
    workflow: str
    version: str
    plan: str
    input: str  # JSON
    transition: Transition | None
    deadline: int = 0  # ms since the epoch, 0: none
    idempotency_key: str | None = None
    parent: Call | None = None
    depth: int = 0  # how many executions are above it
    at: int = 0  # when it begins, ms since the epoch, 0: now
    until: int = 0  # the instant that was asked for as its deadline; part of `deadline`
    within: int = 0  # how long it may take from its beginning, ms, 0: no limit of its own
    attributes: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    project: str = ""
    slots: Slots | None = None
    traceparent: str = ""  # below which its spans stand
    word: str = "-"  # of `choices_at`, by which its version was chosen; '-': just now

    @property
    def status(self) -> ExecutionStatus:
        """What it is at first, unless it has ended at once."""
        if self.at:
            return ExecutionStatus.SCHEDULED
        return ExecutionStatus.RUNNING if self.slots is None else ExecutionStatus.QUEUED


class ChoicesChanged(Exception):
    """What a start should get has changed since it was read: nothing was started."""


class Starting(Indexing, Lives):
    """How executions come to be, and how those begin that were put off."""

    def start(self, start: Start, behind: Behind = ()) -> bool:
        """Create an execution with its first tokens. False: it exists already.

        ``behind``: what is sent with it, whatever comes of it: its first message.
        Raises ChoicesChanged where another version may be the one that it should get.
        """
        self.note_kind(start.workflow, start.version)
        return self._is_started(self.run_ahead(behind, "start", **self._all_of(start)))

    def _is_started(self, reply: Any) -> bool:
        word = self._word("start", reply, "STARTED", "EXISTS", "CHANGED")
        if word == "CHANGED":
            raise ChoicesChanged
        return word == "STARTED"

    def start_template(self, make: Callable[[str, int, str], Start]) -> StartTemplate | None:
        """Of starts that ``make`` makes of an id, an instant in ms and an input, JSON; None: they
        differ by more than that."""

        def pack(execution: str, now: int, input: str) -> Command:
            start = make(execution, now, input)
            self.note_kind(start.workflow, start.version)
            return self._scripts["start"].command(self._all_of(start, now))

        return make_template(self.keys, self.grace, pack)

    def start_alike(
        self, template: StartTemplate, execution: str, input: str, behind: Behind = ()
    ) -> bool:
        """As `start`, of one as `template` was made of."""
        command = template.write(execution, self.clock(), input)
        return self._is_started(self.run_written(self._scripts["start"], command, behind))

    def start_many(self, starts: Sequence[Start]) -> list[bool]:
        """As `start` for each, in one round trip; each is a script of its own."""
        for workflow, version in {(start.workflow, start.version) for start in starts}:
            self.note_kind(workflow, version)
        replies = self.run_many("start", [self._all_of(start) for start in starts])
        return [self._word("start", reply, "STARTED", "EXISTS") == "STARTED" for reply in replies]

    def _all_of(self, start: Start, now: int = 0) -> dict[str, Any]:
        """Arguments of the script that starts an execution. ``now``: ms, 0: as the clock says."""
        now = now or self.clock()
        fields: dict[str, str] = {
            "status": start.status.value,
            WORKFLOW_FIELD: start.workflow,
            "version": start.version,
            "plan": start.plan,
            "created": str(now),
            INPUT_FIELD: start.input,
        }
        if start.idempotency_key is not None:
            fields["key"] = start.idempotency_key
        if start.deadline:
            fields["deadline"] = str(start.deadline)
        if start.parent is not None:
            fields["parent"] = start.parent.dumps()
            fields["depth"] = str(start.depth)
        if start.until:
            fields["until"] = str(start.until)
        if start.within:
            fields["within"] = str(start.within)
        if start.priority:
            fields[PRIORITY_FIELD] = str(start.priority)
        if start.project:
            fields[PROJECT_FIELD] = start.project
        if start.traceparent:
            fields[TRACE_FIELD] = start.traceparent
        if start.attributes:
            fields["attributes"] = encode(start.attributes)
        if start.at:
            fields["at"] = str(start.at)
        look = start.at
        if start.slots is not None:
            fields["gates"] = start.slots.dumps()
            if not start.at:
                fields["queued"] = str(start.slots.since)
                look = now + self.grace
        fields |= end_fields(start.transition, now)
        told = fields
        if start.transition is not None and start.transition.is_over:
            told = {**dict(start.transition.fields), **fields}
        return {
            **self._first(
                start.id, start.transition, fields, Event("started", detail=_until(start.at)), now
            ),
            "word": start.word,
            "choices": self.keys.choices(self.keys.partition(start.id)),
            "life": [
                *self._told_of_start(start.id, start.workflow, now),
                *self._told_of_end(start.id, end_of(start.transition), now),
            ],
            "members": [part for member in members_of(start.id, told) for part in (0, member)],
            "counts": counts_of_start(start.workflow, fields["status"]),
            "look": self._look_first(start.transition, start.deadline, start.parent, now, look),
        }

    def _first(
        self,
        execution: str,
        transition: Transition | None,
        fields: Mapping[str, str],
        event: Event,
        now: int,
    ) -> dict[str, Any]:
        """Arguments of the scripts that write the first tokens of an execution, if it has any."""
        written = transition or Transition("", None)
        return {
            **self._all_keys(execution),
            **self._index_and_totals(execution),
            "listening": self.keys.listening(self.keys.partition(execution)),
            "outbox": self.keys.outbox(self.keys.partition(execution)),
            "listens": listeners(execution, written.opens),
            "id": execution,
            "fields": flat((*written.fields, *fields.items())),
            "opens": opened_tokens(written.opens),
            "texts": flat((*written.texts, *subscriptions(written.opens))),
            "events": [each.dumps(now) for each in (event, *written.events)],
            "pages": flat(written.pages),
            "ended": int(written.is_over),
            "keep": self.expires,
        }

    def begin(self, pending: Pending, transition: Transition, deadline: int) -> bool:
        """Let an execution begin that was only scheduled. False: it is not so any more."""
        now = self.clock()
        fields = {"status": ExecutionStatus.RUNNING.value}
        if deadline:
            fields["deadline"] = str(deadline)
        fields |= end_fields(transition, now)
        reply = self.run(
            "begin",
            **self._first(pending.id, transition, fields, Event("begun"), now),
            now=now,
            expect=pending.status.value,
            since=pending.slots.since if pending.slots is not None else 0,
            status=fields["status"],
            name=error_head(error_name(fields.get("error"))),
            look=self._look_first(transition, deadline, pending.parent, now),
            life=self._told_of_end(pending.id, end_of(transition), now),
        )
        return self._word("begin", reply, "BEGUN", "DONE", "MISSING") == "BEGUN"

    def go_on(self, pending: Pending, deadline: int) -> tuple[str, ...] | None:
        """Let a queued execution go on whose steps are there; which of them need a message.

        None: it does not wait for these slots any more.
        """
        now = self.clock()
        reply = self.run(
            "go_on",
            **self._keys(pending.id),
            index=self._index_of(pending.id),
            now=now,
            id=pending.id,
            since=pending.slots.since if pending.slots is not None else 0,
            grace=self.grace,
            deadline=deadline,
            look=self._look(deadline, pending.parent, now),
            event=Event("begun").dumps(now),
        )
        word = self._word("go_on", reply, "BEGUN", "DONE", "MISSING")
        return tuple(reply[1:]) if word == "BEGUN" else None

    def _look(self, deadline: int, parent: Call | None, now: int, at: int = 0) -> int:
        """When to look at an execution as a whole; 0: never. ``at``: when it is to begin."""
        recheck = now + int(self.settings.recheck_interval * 1000) if parent is not None else 0
        return min((each for each in (deadline, recheck, at) if each), default=0)

    def _look_first(
        self, first: Transition | None, deadline: int, parent: Call | None, now: int, at: int = 0
    ) -> int:
        """As `_look`; soon, where compensations are all that is left to do."""
        if first is not None and first.end is not None and not first.is_over:
            return now + self.grace
        return self._look(deadline, parent, now, at)

    def look_later(self, execution: str, deadline: int, parent: Call | None, at: int = 0) -> None:
        """Look at an execution as a whole later on, unless it has ended in the meantime."""
        watch = self.keys.watch(self.keys.partition(execution))
        due = self._look(deadline, parent, self.clock(), at)
        self.read(self.redis.zadd, watch, {f"{execution} ": due}, xx=True)


def _until(at: int) -> dict[str, Any]:
    return {"until": at} if at else {}
