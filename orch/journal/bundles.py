"""Several branches of one parallel step at once: their ends, and the claims of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orch.journal.connection import Connection
from orch.journal.records import make_view, pages_with, split_reads
from orch.journal.scripts import flat
from orch.workflows.calls import Call
from orch.workflows.commit import Event, Transition
from orch.workflows.state import StepState
from orch.workflows.view import View


@dataclass(frozen=True)
class Bundled:
    """What became of a call. ``refused``: numbers of the ends that do not count any more.

    ``taken``: numbers of the claims that were made, and ``view`` what their steps see; ``left``:
    of those that take a message of their own. ``joined``: the branches are decided; ``calls``:
    tokens that were cancelled, and whose children must be.
    """

    refused: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    view: View | None = None
    joined: bool = False
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Taking:
    """First steps of branches that are to be claimed, as (path, its state then). ``lease`` in ms;
    ``reads``: of all of them."""

    opened: Sequence[tuple[str, StepState]] = ()
    reads: Sequence[str] = ()
    queue: str = ""
    lease: int = 0


NOTHING = Taking()


class Bundles(Connection):
    """Ends and claims of branches, several in one script."""

    def settle_branches(
        self,
        execution: str,
        plan: str,
        join: str,
        owner: str,
        ends: Iterable[tuple[int, Transition]],
        taking: Taking = NOTHING,
    ) -> Bundled | None:
        """Commit the ends, each given with its attempt, and claim what ``taking`` says.

        Each end is the transition of a branch that ended well, and no more than that
        (`Transition.is_plain_end`). None: nothing was done, and each must be settled by
        itself.
        """
        now = self.clock()
        fields, items = split_reads(taking.reads)
        reply = self.run(
            "settle_branches",
            **self._keys_and_items(execution),
            listening=self.keys.listening(self.keys.partition(execution)),
            marks=self.keys.marks(self.keys.partition(execution)),
            outbox=self.keys.outbox(self.keys.partition(execution)),
            now=now,
            id=execution,
            plan=plan,
            join=join,
            owner=owner,
            ends=[_end(attempt, transition, now) for attempt, transition in ends],
            takes=[
                [
                    path,
                    state.dumps(),
                    Event("claimed", path, state.attempt, {"worker": owner}).dumps(now),
                ]
                for path, state in taking.opened
            ],
            due=now + taking.lease,
            reads=fields,
            pages=pages_with(items),
            queue=taking.queue,
            grace=self.grace,
        )
        word = self._word("settle_branches", reply, "SETTLED", "JOINED", "ALONE")
        if word == "ALONE":
            return None
        refused = tuple(number - 1 for number in reply[1])
        if word == "JOINED":
            return Bundled(refused, joined=True, calls=Call.all_of(execution, reply[2]))
        taken = tuple(number - 1 for number in reply[2])
        view = None
        if taken:
            view = make_view(execution, zip([*fields, *items], reply[4:], strict=True))
        left = tuple(number - 1 for number in reply[3])
        return Bundled(refused, taken, left, view)


def _end(attempt: int, transition: Transition, now: int) -> list[Any]:
    branch = transition.branch
    assert branch is not None and transition.state is not None
    texts = flat(transition.texts)
    events = [event.dumps(now) for event in transition.events]
    state = transition.state.dumps()
    return [transition.path, attempt, state, branch.scope, branch.text, texts, events]
