"""One method per transition, typed in and out; the words of the scripts end here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

from redis.exceptions import NoScriptError

from orch.errors import JournalError
from orch.journal.affinities import Affinities
from orch.journal.beats import Beats
from orch.journal.branches import Branches
from orch.journal.breakers import Breakers
from orch.journal.bundles import Bundles
from orch.journal.cancelling import Cancelled, Cancelling
from orch.journal.connection import (
    keys_and_items_of,
    milliseconds,
    open_redis,
    without_password,
)
from orch.journal.counting import Counting, counts_of_start
from orch.journal.declared import Declarations
from orch.journal.drains import Drains
from orch.journal.escalations import EscalationRecords
from orch.journal.events import Events
from orch.journal.external import External
from orch.journal.fallbacks import Fallbacks
from orch.journal.fleet import Fleet
from orch.journal.gates import Gates
from orch.journal.heads import error_name, members_of, of_error
from orch.journal.keys import Keys
from orch.journal.limits import Limits
from orch.journal.logs import Logs
from orch.journal.memories import Memories
from orch.journal.migration import Migration
from orch.journal.observations import Observations
from orch.journal.pushes import Pushes
from orch.journal.quarantine import Quarantine
from orch.journal.records import (
    HistoryEntry,
    Pending,
    Record,
    Records,
    make_view,
    pages_with,
    split_reads,
)
from orch.journal.schedules import Schedules
from orch.journal.scripts import Behind, Beside, Form, flat, load
from orch.journal.services import Services
from orch.journal.snapshots import Snapshots
from orch.journal.spending import Spendings
from orch.journal.start_template import StartTemplate, make_template
from orch.journal.steering import Steered, Steering
from orch.journal.stream import Stream
from orch.journal.traces import Traces
from orch.journal.triggers import Triggers
from orch.journal.versions import Versions
from orch.journal.wire import Command
from orch.workflows.calls import Call
from orch.workflows.commit import BranchEnd, End, Event, Open, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.frozen import changed
from orch.workflows.gates import Slots
from orch.workflows.handoff import Handoff, completed, known_behind
from orch.workflows.link import NULL, Link, Straight, link_of
from orch.workflows.state import ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.traces import TRACE_FIELD
from orch.workflows.view import (
    INPUT_FIELD,
    PAGE,
    PRIORITY_FIELD,
    PROJECT_FIELD,
    WORKFLOW_FIELD,
    View,
)

HANDED_SOUGHT = 1000
"""Items of a map, the latest, among which one is sought that was handed on unheard."""

__all__ = [
    "Cancelled",
    "Claimed",
    "Ended",
    "HistoryEntry",
    "Journal",
    "Pending",
    "Record",
    "Refused",
    "Settled",
    "Start",
    "Steered",
    "make_view",
    "milliseconds",
    "open_redis",
    "without_password",
]


@dataclass(frozen=True)
class Claimed:
    """An attempt is ours. ``text``: its state as it is stored, if that is known, else ''."""

    state: StepState
    view: View
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class Refused:
    """A script said no; ``word`` is its word, ``rest`` what it added."""

    word: str
    rest: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Ended:
    """An execution has ended. ``parent``: who called it; ``calls``: its own, now cancelled;
    ``slots``: what it has to give back."""

    parent: Call | None = None
    calls: tuple[Call, ...] = ()
    slots: Slots | None = None


@dataclass(frozen=True)
class Settled:
    """An outcome is committed.

    ``joined``: the parallel step whose branches it closed. ``following``: where the next item
    of a map, or branch, begins, whose turn has come; ``handed``: it is ours already.
    ``parent``: who called the execution that ended with it. ``calls``: tokens that were
    cancelled, and whose children must be. ``slots``: what an execution that ended gives back.
    ``again``: tokens that need a message, of an item or a branch that is tried again, whose turn
    has come.
    """

    joined: str | None = None
    following: str | None = None
    handed: Claimed | None = None
    repeated: bool = False
    parent: Call | None = None
    calls: tuple[Call, ...] = ()
    slots: Slots | None = None
    again: tuple[str, ...] = ()


_SETTLED = Settled()


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


class Journal(
    Records,
    Snapshots,
    Triggers,
    Steering,
    Branches,
    Breakers,
    Bundles,
    Cancelling,
    Drains,
    Fleet,
    Events,
    Stream,
    Beats,
    External,
    Pushes,
    Affinities,
    Declarations,
    Fallbacks,
    Versions,
    Migration,
    Gates,
    Limits,
    Memories,
    Logs,
    Spendings,
    EscalationRecords,
    Quarantine,
    Schedules,
    Services,
    Counting,
    Traces,
    Observations,
):
    """The journal of all executions in one Redis.

    ``terse``: items of a map that go well at once are no lines of the history.
    Every method may raise Unreachable when Redis is away, JournalError when a script answers
    a word that its contract does not list.
    """

    terse = True

    has_started = False
    """Whether it has started an execution, so that Redis knows the script: where it does not, what
    is sent behind it is carried out before the execution is there."""

    def start(self, start: Start, behind: Behind = ()) -> bool:
        """Create an execution with its first tokens. False: it exists already.

        ``behind``: what is sent with it, whatever comes of it: its first message.
        Raises ChoicesChanged where another version may be the one that it should get.
        """
        self.note_kind(start.workflow, start.version)
        given = self._all_of(start)
        reply = self.run_ahead(behind, "start", **given) if behind else self.run("start", **given)
        self.has_started = True
        return self._is_started(reply)

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
    ) -> bool | None:
        """As `start`, of one as `template` was made of. None: Redis has forgotten the script."""
        command = template.write(execution, self.clock(), input)
        try:
            reply = self.read(self.wire.execute_first, command, *behind)
        except JournalError as exc:
            if isinstance(exc.__cause__, NoScriptError):
                return None
            raise
        return self._is_started(reply)

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
        fields |= _end_fields(start.transition, now)
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
                *self._told_of_end(start.id, _end_of(start.transition), now),
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
            "listens": _listens(execution, written.opens),
            "id": execution,
            "fields": flat((*written.fields, *fields.items())),
            "opens": _opens(written.opens),
            "texts": flat((*written.texts, *_subscriptions(written.opens))),
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
        fields |= _end_fields(transition, now)
        reply = self.run(
            "begin",
            **self._first(pending.id, transition, fields, Event("begun"), now),
            now=now,
            expect=pending.status.value,
            since=pending.slots.since if pending.slots is not None else 0,
            status=fields["status"],
            name=_error_head(error_name(fields.get("error"))),
            look=self._look_first(transition, deadline, pending.parent, now),
            life=self._told_of_end(pending.id, _end_of(transition), now),
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

    def claim(
        self,
        execution: str,
        path: str,
        *,
        owner: str,
        plan: str,
        queue: str,
        reads: Sequence[str],
        lease: int,
        quiet: bool = False,
    ) -> Claimed | Refused:
        """Take the dispatched attempt of a token. ``lease`` in ms: when to look at it.

        ``quiet``: all that is done for an item of a map, see `Plan.is_quiet`.
        """
        now = self.clock()
        fields, items = split_reads(reads)
        reply = self.run(
            "claim",
            **self._keys_and_items(execution),
            marks=self.keys.marks(self.keys.partition(execution)),
            now=now,
            id=execution,
            path=path,
            owner=owner,
            due=now + lease,
            plan=plan,
            queue=queue,
            reads=fields,
            pages=pages_with(items),
            quiet=int(quiet and self.terse),
        )
        words = ("CLAIMED", "DONE", "OWNED", "EARLY", "PAUSED", "ENDED", "MISSING", "REPLANNED")
        word = self._word("claim", reply, *words)
        if word != "CLAIMED":
            return Refused(word, tuple(reply[1:]))
        return _claimed(execution, reads, reply[1:])

    def settle(
        self,
        execution: str,
        transition: Transition,
        *,
        expect: str,
        attempt: int,
        owner: str = "",
        before: str = "",
        late: str = "",
        handoff: Handoff | None = None,
    ) -> Settled | Refused:
        """Commit a transition, if its token is still at ``expect``, ``attempt`` and ``owner``.

        ``before``: its state as its owner knows it, '' if that is not known. ``late``: the
        worker that is named in the history if it comes too late; '' for nobody.
        ``handoff``: what the worker goes on with itself: a token that the transition opens, or
        that of the item that the end of another one lets begin.
        """
        assert transition.state is not None
        if before and transition.quiet and self.terse and handoff is not None:
            settled = self._settle_item(execution, transition, before, handoff)
            if settled is not None:
                return settled
        if before and transition.goes_on and (handoff is None or handoff.open is not None):
            settled = self._settle_on(execution, transition, before, owner, handoff)
            if settled is not None:
                return settled
        end = transition.end
        if before and transition.is_plain_last and not self.tells(ExecutionStatus.COMPLETED.value):
            settled = self._settle_last(execution, transition, before)
            if settled is not None:
                return settled
        now = self.clock()
        quiet = transition.quiet and self.terse
        events = [e for e in transition.events if self.terse or e.at is None]
        over = handoff.open if handoff is not None else None
        told = self._handoff(handoff, now)
        listening = [o for o in transition.written if o.listens]
        texts = [] if quiet else flat(transition.texts)
        for opened in listening:
            texts += (f"?{opened.path}", opened.listens)
        reply = self.run(
            "settle",
            **self._all_keys(execution),
            **self._index_and_totals(execution),
            now=now,
            id=execution,
            plan=transition.plan,
            path=transition.path,
            expect=expect,
            attempt=attempt,
            owner=owner,
            state=transition.state.dumps(),
            due=transition.due or 0,
            opens=_opens([o for o in transition.opens if o is not over]),
            texts=texts,
            fields=flat(transition.fields),
            drops=list(transition.drops),
            branch=_branch(transition.branch),
            ballot=transition.branch.ballot if transition.branch is not None else "",
            ends=_ends(end),
            events=[] if quiet else [event.dumps(now) for event in events],
            listening=self.keys.listening(self.keys.partition(execution)),
            listens=_listens(execution, listening),
            once=transition.once,
            outbox=self.keys.outbox(self.keys.partition(execution)),
            notices=flat(transition.notices),
            guard=list(transition.guard or ()),
            below=int(transition.cancels_below),
            pages=flat(transition.pages),
            clears=[*transition.clears, PAGE] if transition.clears else [],
            quiet=int(quiet),
            late=late,
            handoff=told,
            grace=self.grace,
            keep=self.expires,
            keeps=flat(_keeps(transition, now)) if owner else [],
            keep_event=_keep_event(transition, attempt, now),
            unwinds=int(transition.unwinds or in_compensation(transition.path)),
            life=self._told_of_end(execution, end, now),
        )
        word = self._word("settle", reply, *_SETTLE_WORDS)
        if word == "SETTLED":
            parent = Call.loads(reply[1]) if reply[1] else None
            following = reply[3] if len(reply) > 3 else None
            handed = None
            if handoff is not None and following and len(reply) > 4:
                handed = _handed(execution, handoff, following, reply[4:], now)
            calls = Call.all_of(execution, reply[2]) if reply[2] else ()
            if isinstance(following, list):
                return Settled(calls=calls, again=tuple(following))
            slots = Slots.loads(reply[4], reply[5]) if transition.is_over else None
            return Settled(
                following=following or None, handed=handed, parent=parent, calls=calls, slots=slots
            )
        if word == "JOINED":
            return Settled(joined=reply[1], calls=Call.all_of(execution, reply[2]))
        if word == "REPEATED":
            found = Settled(joined=reply[1] if len(reply) > 1 else None, repeated=True)
            return self._handed_before(execution, transition.branch, handoff, found)
        return Refused(word, tuple(reply[1:]))

    def _settle_on(
        self,
        execution: str,
        transition: Transition,
        before: str,
        owner: str,
        handoff: Handoff | None,
    ) -> Settled | None:
        """The commonest of what `settle` does; None: something stands in the way."""
        now = self.clock()
        link = link_of(transition, before, handoff, now, terse=self.terse)
        reply = self._write_link(execution, transition.plan, link, owner)
        if reply is None:
            return None
        if handoff is None or handoff.open is None:
            return Settled()
        handed = _handed(execution, handoff, link.following, reply, now)
        return Settled(following=link.following, handed=handed)

    def _settle_last(self, execution: str, transition: Transition, before: str) -> Settled | None:
        """An execution that has come to its end; None: something stands in the way."""
        now, end = self.clock(), transition.end
        assert end is not None and transition.state is not None
        reply = self.run(
            "settle_last",
            **self._all_keys(execution),
            **self._index_and_totals(execution),
            now=now,
            id=execution,
            plan=transition.plan,
            path=transition.path,
            before=before,
            state=transition.state.dumps(),
            texts=flat(transition.texts),
            fields=flat(transition.fields),
            output=NULL if end.output is None else end.output,
            events=[event.dumps(now) for event in transition.events],
            keep=self.expires,
        )
        if self._word("settle_last", reply, "SETTLED", "OTHERWISE") != "SETTLED":
            return None
        return Settled(parent=Call.loads(reply[1]) if reply[1] else None)

    def settle_straight(
        self,
        plan: str,
        straight: Straight,
        view: View,
        path: str,
        state: StepState,
        text: str | None,
        now: int,
        taker: tuple[str, int] | None,
        behind: Behind = (),
        beside: Beside | None = None,
        before: str = "",
    ) -> Settled | None:
        """Commit that an attempt came to ``text``, where one step always follows. Harmless if
        repeated. None: something stands in the way, and `settle` knows what.

        ``text``: JSON; None: no output. ``taker``: who goes on with the step that follows, and the
        lease in ms. ``behind``: what is sent with it, whatever comes of it: the message of the step
        that follows. ``beside``: what is asked with it, where nothing is behind it. ``before``: as
        of `Straight.link`.
        """
        execution = view.execution
        link = straight.link(view, path, state, text, now, self.grace, taker, before)
        reply = self._write_link(execution, plan, link, state.owner, behind, beside)
        if reply is None:
            return None
        if taker is None:
            return _SETTLED
        known = known_behind(view, view.input if straight.reads_input else None)
        if link.reads:
            read = make_view(execution, zip(link.reads, reply[1:], strict=True))
            known = completed(read, known)
        assert link.taken is not None
        handed = Claimed(link.taken, known, link.text)
        return changed(_SETTLED, following=straight.path, handed=handed)

    def _write_link(
        self,
        execution: str,
        plan: str,
        link: Link,
        owner: str,
        behind: Behind = (),
        beside: Beside | None = None,
    ) -> Sequence[Any] | None:
        """What was asked for, from its second place on; None: nothing was written."""
        fields, items = split_reads(link.reads) if link.reads else ((), ())
        form = _link_form()
        command = form.command(
            _begun_link(self.keys, execution, plan),
            path=link.path,
            before=link.before,
            owner=owner,
            state=link.state,
            written=link.written,
            watched=link.watched,
            fields=link.fields,
            following=link.following,
            taken=link.text,
            events=link.events,
            short=link.short,
            reads=fields,
            pages=pages_with(items) if items else (),
        )
        reply = self.run_written(form.script, command, behind, beside)
        word = self._word("settle_on", reply, "SETTLED", "OTHERWISE")
        found: Sequence[Any] = reply[1:]
        return found if word == "SETTLED" else None

    def _settle_item(
        self, execution: str, transition: Transition, before: str, handoff: Handoff
    ) -> Settled | None:
        """An item that went well at once, and the next one; None: something stands in the way."""
        branch, now = transition.branch, self.clock()
        more = (transition.opens, transition.fields, transition.drops, transition.unwinds)
        if branch is None or not branch.of_item or not handoff.quiet or any(more):
            return None
        entry, waiting = branch.waiting[0]
        running = StepStatus.RUNNING
        state = changed(waiting, status=running, since=now, owner=handoff.owner, started=now)
        fields, items = split_reads(handoff.reads)
        keys = self._keys_and_items(execution)
        reply = self.run(
            "settle_item",
            **{name: keys[name] for name in ("record", "steps", "items", "watch")},
            now=now,
            id=execution,
            plan=transition.plan,
            path=transition.path,
            before=before,
            join=branch.join,
            scope=branch.scope,
            output=branch.text,
            entry=entry,
            state=state.dumps(),
            due=now + handoff.lease,
            reads=fields,
            pages=pages_with(items),
            page=PAGE if handoff.item else 0,
            grace=self.grace,
        )
        word = self._word("settle_item", reply, "SETTLED", "JOINED", "OTHERWISE")
        if word != "SETTLED":
            return Settled(joined=branch.join) if word == "JOINED" else None
        if reply[1] < 0:
            return Settled()
        path = f"{branch.join}[{reply[1]}]/{entry}"
        fields, items = split_reads(handoff.reads_at(path))
        view = make_view(execution, zip([*fields, *items], reply[2:], strict=True))
        return Settled(following=path, handed=Claimed(state, handoff.seen(view)))

    def _handoff(self, handoff: Handoff | None, now: int) -> list[Any]:
        if handoff is None:
            return []
        fields, items = split_reads(handoff.reads)
        quiet = handoff.quiet and self.terse
        told = [
            handoff.owner,
            handoff.plan,
            now + handoff.lease,
            int(quiet),
            fields,
            pages_with(items),
            PAGE if handoff.item else 0,
        ]
        if handoff.open is None:
            return told
        opened = handoff.open
        return [
            *told,
            [
                opened.path,
                handoff.taken(now).dumps(),
                "" if quiet else handoff.claimed().dumps(now),
            ],
            *_opens([opened]),
        ]

    def _handed_before(
        self,
        execution: str,
        ended: BranchEnd | None,
        handoff: Handoff | None,
        settled: Settled,
    ) -> Settled:
        """The reply that got lost had handed on a token: look for the one that is ours."""
        if handoff is None:
            return settled
        for path in self._handed_paths(execution, ended, handoff):
            reply = self.claim(
                execution,
                path,
                owner=handoff.owner,
                plan=handoff.plan,
                queue="",
                reads=handoff.reads_at(path),
                lease=handoff.lease,
                quiet=handoff.quiet,
            )
            if isinstance(reply, Claimed):
                handed = replace(reply, view=handoff.seen(reply.view))
                return replace(settled, following=path, handed=handed)
        return settled

    def _handed_paths(self, execution: str, ended: BranchEnd | None, handoff: Handoff) -> list[str]:
        paths: list[str] = []
        if handoff.open is not None:
            paths = [handoff.open.path]
        elif ended is not None and (found := self.read_state(execution, ended.join)) is not None:
            last, entry = found[1].opened, ended.waiting[0][0]
            first = max(0, last - HANDED_SOUGHT)
            paths = [f"{ended.join}[{n}]/{entry}" for n in range(last - 1, first - 1, -1)]
        states = zip(paths, self.read_states(execution, paths), strict=True)
        ours = handoff.owner
        return [path for path, text in states if text and StepState.loads(text).owner == ours]

    def redispatch(
        self,
        execution: str,
        path: str,
        state: StepState,
        becomes: StepStatus = StepStatus.DISPATCHED,
        limit: int = 0,
        listens: str = "",
        look: int = 0,
        granted: bool = False,
    ) -> bool:
        """Say that the token gets a message (or, as ``becomes`` says, a child or a report) again.

        ``limit``: when a worker must have taken it, ms; 0: whenever. ``listens``: what it waits
        for, where that is a report. ``look``: when to look at it, if that is soon.
        ``granted``: its limits let it begin.
        False: it moved on, or must not start.
        """
        now = self.clock()
        reply = self.run(
            "redispatch",
            **self._keys(execution),
            now=now,
            id=execution,
            path=path,
            expect=state.status.value,
            attempt=state.attempt,
            becomes=becomes.value,
            listening=self.keys.listening(self.keys.partition(execution)),
            listens=listens,
            limit=limit,
            due=min(now + self.grace, limit or look or now + self.grace),
            granted=int(granted),
        )
        words = ("DISPATCHED", "SUPERSEDED", "PAUSED", "ENDED", "MISSING")
        return self._word("redispatch", reply, *words) == "DISPATCHED"

    def postpone(
        self, execution: str, path: str, state_text: str, due: int, *, while_paused: bool = False
    ) -> bool:
        """Look at the token at ``due`` (ms; 0: never) instead, unless its state has changed.

        ``while_paused``: only if its execution, or a branch in which it stands, is paused, too.
        """
        reply = self.run(
            "postpone",
            record=self.keys.record(execution),
            steps=self.keys.steps(execution),
            watch=self.keys.watch(self.keys.partition(execution)),
            id=execution,
            path=path,
            state=state_text,
            rests=int(while_paused),
            due=due,
        )
        return self._word("postpone", reply, "POSTPONED", "SUPERSEDED") == "POSTPONED"

    def take_due(
        self, *, hold: int = 5000, most: int = 100, partitions: Iterable[int] | None = None
    ) -> tuple[int | None, list[tuple[str, str]]]:
        """The tokens that are due, as (execution, path), and when the next one is (ms).

        A path of ``""`` is the deadline of the execution. Who takes a token has ``hold`` ms to
        deal with it before somebody else is given it.
        """
        chosen = range(self.keys.partitions) if partitions is None else partitions
        reply = self.run(
            "take_due",
            watches=[self.keys.watch(partition) for partition in chosen],
            now=self.clock(),
            hold=hold,
            most=most,
        )
        tokens = [(e, path) for e, _, path in (member.partition(" ") for member in reply[1:])]
        return (int(reply[0]) if reply[0] else None), tokens

    def end(
        self,
        execution: str,
        status: ExecutionStatus,
        error: Mapping[str, Any],
        *,
        by: str = "",
        notices: Sequence[tuple[str, str]] = (),
    ) -> Refused | Ended:
        """End an execution from outside. Refused: it had ended before, or is not there.

        ``by``: who wants it, for the history. ``notices``: what is told outside, as (id, JSON).
        """
        now = self.clock()
        detail = {"status": status.value, "error": error} | ({"by": by} if by else {})
        reply = self.run(
            "end_execution",
            **self._all_keys(execution),
            listening=self.keys.listening(self.keys.partition(execution)),
            outbox=self.keys.outbox(self.keys.partition(execution)),
            **self._index_and_totals(execution),
            now=now,
            id=execution,
            status=status.value,
            error=_dumps(error),
            name=_error_head(str(error.get("name") or "")),
            event=Event("ended", detail=detail).dumps(now),
            keep=self.expires,
            grace=self.grace,
            notices=flat(notices),
            life=self._told_of_end(execution, End(status, error=_dumps(error)), now),
        )
        word = self._word("end_execution", reply, "ENDED", "DONE", "MISSING")
        if word != "ENDED":
            return Refused(word, tuple(reply[1:]))
        parent = Call.loads(reply[1]) if reply[1] else None
        slots = Slots.loads(reply[3], reply[4])
        return Ended(parent, Call.all_of(execution, reply[2]), slots)


def _claimed(execution: str, reads: Sequence[str], reply: Sequence[Any]) -> Claimed:
    """``reply``: the state, and the values of what was asked for: fields first, then items."""
    fields, items = split_reads(reads)
    view = make_view(execution, zip([*fields, *items], reply[1:], strict=True))
    return Claimed(StepState.loads(reply[0]), view, reply[0])


_SETTLE_WORDS = (
    "SETTLED",
    "JOINED",
    "REPEATED",
    "SUPERSEDED",
    "KEPT",
    "ENDED",
    "MISSING",
    "TAKEN",
    "REPLANNED",
    "MOVED",
)


def _handed(execution: str, handoff: Handoff, path: str, reply: Sequence[Any], now: int) -> Claimed:
    if handoff.open is not None and handoff.known is not None and not handoff.reads:
        return Claimed(handoff.taken(now), handoff.known)
    fields, items = split_reads(handoff.reads_at(path))
    view = handoff.seen(make_view(execution, zip([*fields, *items], reply[1:], strict=True)))
    return Claimed(handoff.taken(now) if handoff.open else StepState.loads(reply[0]), view)


def _keeps(transition: Transition, now: int) -> Iterable[tuple[str, str]]:
    """What is written of a step that was cancelled while it ran, and has done what it does."""
    if transition.kept is None or transition.state is None:
        return
    yield transition.path, transition.state.ended(StepStatus.CANCELLED, now).dumps()
    if transition.kept:
        yield f"={transition.path}", transition.kept


def _keep_event(transition: Transition, attempt: int, now: int) -> bytes:
    return Event("kept", transition.path, attempt).dumps(now) if transition.kept else b""


@cache
def _link_form() -> Form:
    """How a `Link` is given to its script."""
    return Form(load()["settle_on"], "id", "plan")


@lru_cache(256)
def _begun_link(keys: Keys, execution: str, plan: str) -> bytes:
    """What is the same of all links of an execution."""
    return _link_form().begin(keys_and_items_of(keys, execution), id=execution, plan=plan)


def _end_of(transition: Transition | None) -> End | None:
    """How an execution ends with its first transition, if it does."""
    return transition.end if transition is not None else None


def _end_fields(transition: Transition | None, now: int) -> dict[str, str]:
    """Fields of the record of an execution whose flow ends with its first transition."""
    end = _end_of(transition)
    if end is None:
        return {}
    if not end.status.ended:
        return {"status": end.status.value, "failing": end.error or ""}
    found = {"status": end.status.value, "ended": str(now)}
    if end.output is not None:
        found["output"] = end.output
    if end.error is not None:
        found["error"] = end.error
    return found


def _until(at: int) -> dict[str, Any]:
    return {"until": at} if at else {}


def _opens(opens: Iterable[Open]) -> list[list[Any]]:
    return [[o.path, o.state.dumps(), o.due or 0] for o in opens]


def _branch(branch: BranchEnd | None) -> list[Any]:
    if branch is None:
        return []
    told: list[Any] = [branch.join, branch.scope, int(branch.ok), branch.text]
    if branch.waiting:
        told.append("[" if branch.of_item else "/")
        told.append([[e, state.dumps(), state.due] for e, state in branch.waiting])
    return told


def _error_head(name: str) -> str:
    return of_error(name) if name else ""


def _ends(end: End | None) -> list[str]:
    if end is None:
        return []
    return [end.status.value, end.output or "", end.error or "", _error_head(error_name(end.error))]


def _subscriptions(opens: Iterable[Open]) -> list[tuple[str, str]]:
    return [(f"?{o.path}", o.listens) for o in opens if o.listens]


def _listens(execution: str, opens: Iterable[Open]) -> list[str]:
    return [f"{o.listens} {execution} {o.path}" for o in opens if o.listens]


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
