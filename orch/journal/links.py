"""The commonest of what a settle does, each in a short script of its own.

Where something stands in the way, nothing is written, and `Settling.settle` knows what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from orch.journal.claiming import Claimed, Claiming
from orch.journal.connection import keys_and_items_of
from orch.journal.keys import Keys
from orch.journal.lives import Lives
from orch.journal.records import make_view, pages_with, split_reads
from orch.journal.scripts import Behind, Beside, Form, flat, load
from orch.workflows.calls import Call
from orch.workflows.commit import Transition
from orch.workflows.frozen import changed
from orch.workflows.gates import Slots
from orch.workflows.handoff import Handoff, completed, known_behind
from orch.workflows.link import NULL, Link, Straight, link_of
from orch.workflows.state import StepState, StepStatus
from orch.workflows.view import PAGE, View


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


class Links(Claiming, Lives):
    """A step that another one follows, the last one of an execution, an item of a map."""

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
        handed = handed_on(execution, handoff, link.following, reply, now)
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


def handed_on(
    execution: str, handoff: Handoff, path: str, reply: Sequence[Any], now: int
) -> Claimed:
    """What the script that settled one step has claimed of the next.

    ``reply``: its state, unless it was opened just now, and the values of what it reads.
    """
    if handoff.open is not None and handoff.known is not None and not handoff.reads:
        return Claimed(handoff.taken(now), handoff.known)
    fields, items = split_reads(handoff.reads_at(path))
    view = handoff.seen(make_view(execution, zip([*fields, *items], reply[1:], strict=True)))
    return Claimed(handoff.taken(now) if handoff.open else StepState.loads(reply[0]), view)


@cache
def _link_form() -> Form:
    """How a `Link` is given to its script."""
    return Form(load()["settle_on"], "id", "plan")


@lru_cache(256)
def _begun_link(keys: Keys, execution: str, plan: str) -> bytes:
    """What is the same of all links of an execution."""
    return _link_form().begin(keys_and_items_of(keys, execution), id=execution, plan=plan)
