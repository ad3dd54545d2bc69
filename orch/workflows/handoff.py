"""What a worker goes on with by itself when it settles a step, without a message for it.

The script that commits a transition also claims a token that this opens. It is either the first
step of the next item of a map, and which one that is only the script knows; or a step that the
transition itself opens: the next one of a chain, the first one of a branch, or that behind a join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orch.workflows.commit import BranchEnd, Event, Open, Transition
from orch.workflows.frozen import changed
from orch.workflows.node import Node
from orch.workflows.paths import join_path, split
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.view import (
    FIXED_FIELDS,
    INPUT_FIELD,
    View,
    beat_field,
    fields_for,
    item_field,
    own_fields,
    state_field,
)


@dataclass(frozen=True)
class Handoff:
    """A claim that a settle makes along with it.

    ``owner``: who will hold the attempt; unique, as in a claim. ``lease`` in ms. ``reads``: as
    of a claim, but for what is known: `known`, or the item itself: ``item`` is what the map calls
    that, '' if the step does not read it. ``open``: the token that the transition opens; None: that
    of the next item.
    """

    owner: str
    plan: str
    lease: int
    quiet: bool
    reads: Sequence[str]
    item: str = ""
    open: Open | None = None
    known: View | None = None

    def reads_at(self, path: str) -> list[str]:
        """All that is read, once it is known that the item's step stands at ``path``."""
        own = [item_field(split(path)[0], self.item)] if self.item else []
        return [*self.reads, *own]

    def seen(self, view: View) -> View:
        """What was read, completed by what is known."""
        return view if self.known is None else completed(view, self.known)

    def claimed(self) -> Event:
        """What the history tells of the token that is opened, if the worker goes on with it."""
        assert self.open is not None
        return Event("claimed", self.open.path, self.open.state.attempt, {"worker": self.owner})

    def taken(self, now: int) -> StepState:
        """The state of the token that is opened, if the worker goes on with it."""
        assert self.open is not None
        running = StepStatus.RUNNING
        return changed(self.open.state, status=running, since=now, owner=self.owner, started=now)


def is_settled(transition: Transition) -> bool:
    """Whether all that the transition opens stays open for now.

    Where it decides a join at once, what follows from that may cancel what else it opens, and a
    worker that had taken such a step would do it for nobody.
    """
    return all(opened.state.status is not StepStatus.JOINED for opened in transition.opens)


def entry_after(plan: Plan, ended: BranchEnd | None) -> Node | None:
    """The step that the next item begins with, when this one has ended; None if there is no
    next one, or it takes more than a message."""
    if ended is None or not ended.of_item:
        return None
    _, state = ended.waiting[0]
    return plan.scope(ended.scope).entry if state.status is StepStatus.DISPATCHED else None


def make_handoff(
    plan: Plan, ended: BranchEnd, owner: str, lease: int, view: View | None = None
) -> Handoff:
    """Of an item that ended. ``lease``: ms after which the next one's step is looked at.

    ``view``: what the step before it saw; what cannot have changed is not read again.
    """
    entry = plan.scope(ended.scope).entry
    path = join_path(ended.scope, entry.id)
    own = own_fields(ended.scope, path)
    item_of = plan.scope(ended.scope).item_of
    assert item_of is not None
    item = item_field(ended.scope, item_of.as_)
    reads = fields_for(plan, path)
    needless = {*own, item, *(FIXED_FIELDS if view is not None else ())}
    known = view and known_behind(view)
    return Handoff(
        owner=owner,
        plan=plan.key,
        lease=lease,
        quiet=plan.is_quiet(path),
        reads=[name for name in reads if name not in needless],
        item=item_of.as_ if item in reads else "",
        known=known,
    )


def hand_over(plan: Plan, opened: Open, view: View, owner: str, lease: int) -> Handoff:
    """Of a token that the transition opens. ``view``: what the step before it saw.

    What cannot have changed since, or cannot be there yet, is not read again.
    """
    path = opened.path
    reads = needed_behind(plan, path)
    given = view.input if INPUT_FIELD in reads else None
    return Handoff(
        owner=owner,
        plan=plan.key,
        lease=lease,
        quiet=plan.is_quiet(path),
        reads=[name for name in reads if name != INPUT_FIELD or given is None],
        open=opened,
        known=known_behind(view, given),
    )


def needed_behind(plan: Plan, path: str) -> list[str]:
    """The fields that a step needs which begins at ``path`` behind another: neither what that one
    knows in any case, nor what cannot be there yet."""
    needless = {*FIXED_FIELDS, beat_field(path), state_field(path)}
    return [name for name in fields_for(plan, path) if name not in needless]


def completed(view: View, known: View) -> View:
    """What was read of the record for a step, with what was known of it before."""
    given = known.input if known.input is not None else view.input
    return changed(view, workflow=known.workflow, input=given, priority=known.priority)


def known_behind(view: View, given: Any = None) -> View:
    """What a step knows from that before it, which saw ``view``. ``given``: the input."""
    return changed(
        _NOTHING_KNOWN,
        execution=view.execution,
        workflow=view.workflow,
        input=given,
        priority=view.priority,
    )


_NOTHING_KNOWN = View("", "")
