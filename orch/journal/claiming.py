"""Transitions of a token on its way to a worker, and the watch that looks after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.journal.connection import Connection
from orch.journal.records import make_view, pages_with, split_reads
from orch.workflows.state import StepState, StepStatus
from orch.workflows.view import View


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


class Claiming(Connection):
    """``terse``: items of a map that go well at once are no lines of the history."""

    terse = True

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


def _claimed(execution: str, reads: Sequence[str], reply: Sequence[Any]) -> Claimed:
    """``reply``: the state, and the values of what was asked for: fields first, then items."""
    fields, items = split_reads(reads)
    view = make_view(execution, zip([*fields, *items], reply[1:], strict=True))
    return Claimed(StepState.loads(reply[0]), view, reply[0])
