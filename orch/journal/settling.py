"""The transition with which an outcome is committed, and what follows is opened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orch.journal.arguments import (
    branch_end,
    end_words,
    kept_event,
    kept_texts,
    listeners,
    opened_tokens,
)
from orch.journal.claiming import Claimed, Refused
from orch.journal.links import Links, Settled, handed_on
from orch.journal.records import Records, pages_with, split_reads
from orch.journal.scripts import flat
from orch.workflows.calls import Call
from orch.workflows.commit import BranchEnd, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.gates import Slots
from orch.workflows.handoff import Handoff
from orch.workflows.state import ExecutionStatus, StepState
from orch.workflows.view import PAGE

HANDED_SOUGHT = 1000
"""Items of a map, the latest, among which one is sought that was handed on unheard."""

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


class Settling(Records, Links):
    """Whatever a transition says; what is common goes the short ways of `Links` first."""

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
            opens=opened_tokens([o for o in transition.opens if o is not over]),
            texts=texts,
            fields=flat(transition.fields),
            drops=list(transition.drops),
            branch=branch_end(transition.branch),
            ballot=transition.branch.ballot if transition.branch is not None else "",
            ends=end_words(end),
            events=[] if quiet else [event.dumps(now) for event in events],
            listening=self.keys.listening(self.keys.partition(execution)),
            listens=listeners(execution, listening),
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
            keeps=flat(kept_texts(transition, now)) if owner else [],
            keep_event=kept_event(transition, attempt, now),
            unwinds=int(transition.unwinds or in_compensation(transition.path)),
            life=self._told_of_end(execution, end, now),
        )
        word = self._word("settle", reply, *_SETTLE_WORDS)
        if word == "SETTLED":
            parent = Call.loads(reply[1]) if reply[1] else None
            following = reply[3] if len(reply) > 3 else None
            handed = None
            if handoff is not None and following and len(reply) > 4:
                handed = handed_on(execution, handoff, following, reply[4:], now)
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
            *opened_tokens([opened]),
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
