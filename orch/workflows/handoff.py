"""What a worker goes on with by itself when it settles a step, without a message for it.

The script that commits the end of an item also claims the next one. Which one that is only
the script knows, so what its step reads is named beforehand, by the item that ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orch.workflows.commit import BranchEnd
from orch.workflows.plan import Node, Plan, join_path, split
from orch.workflows.state import StepStatus
from orch.workflows.view import fields_for, item_field, own_fields


@dataclass(frozen=True)
class Handoff:
    """A claim that a settle makes along with it, if the turn of another item comes.

    ``owner``: who will hold the attempt; unique, as in a claim. ``lease`` in ms. ``reads``: as
    of a claim, but for the item itself: ``item`` is what the map calls that, '' if the step
    does not read it.
    """

    owner: str
    plan: str
    lease: int
    quiet: bool
    reads: Sequence[str]
    item: str

    def reads_at(self, path: str) -> list[str]:
        """All that is read, once it is known that the item's step stands at ``path``."""
        own = [item_field(split(path)[0], self.item)] if self.item else []
        return [*self.reads, *own]


def entry_after(plan: Plan, ended: BranchEnd | None) -> Node | None:
    """The step that the next item begins with, when this one has ended; None if there is no
    next one, or it takes more than a message."""
    if ended is None or not ended.of_item:
        return None
    _, state = ended.waiting[0]
    return plan.scope(ended.scope).entry if state.status is StepStatus.DISPATCHED else None


def make_handoff(plan: Plan, ended: BranchEnd, owner: str, lease: int) -> Handoff:
    """Of an item that ended. ``lease``: ms after which the next one's step is looked at."""
    entry = plan.scope(ended.scope).entry
    path = join_path(ended.scope, entry.id)
    own = own_fields(ended.scope, path)
    item_of = plan.scope(ended.scope).item_of
    assert item_of is not None
    item = item_field(ended.scope, item_of.as_)
    reads = fields_for(plan, path)
    return Handoff(
        owner=owner,
        plan=plan.key,
        lease=lease,
        quiet=plan.is_quiet(path),
        reads=[name for name in reads if name not in own and name != item],
        item=item_of.as_ if item in reads else "",
    )
