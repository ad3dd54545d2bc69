"""How far a worker goes on by itself with the items of a map, from one message."""

from __future__ import annotations

import time
from collections.abc import Callable

from orch.settings import Settings
from orch.workflows.commit import Transition
from orch.workflows.handoff import Handoff, entry_after, make_handoff
from orch.workflows.plan import Node, Plan

Serves = Callable[[Node], bool]
"""Whether this worker has the code for a step, and takes messages from its queue."""

MOST_ITEMS = 1000
"""Of `batch: auto`: a message of which Flower says nothing for longer would look lost."""

MOST_SECONDS = 5.0
"""After which a lane gives way whatever its `batch` is: a worker that is told to end does so
soon, and other work has its turn."""

WITHIN_LIMIT = 0.5
"""Seconds after which a message with a time limit takes no other item. Its process is killed one
second after the `timeout` of the step (`kill_after`), as counted from the first item: so the last
one, which may begin so much later, has its whole timeout, and the journal ends it before."""


class Lane:
    """One message, and the items that are done from it. ``about``: its own step.

    ``plan``: that of the item which is done now; an execution may be put on another one.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        about: Node,
        begun: float,
        *,
        serves: Serves,
        owner: Callable[[], str],
        lease: Callable[[Node], int],
    ) -> None:
        self.plan = plan
        self.count = 1  # items, the one that the message is for included
        self._slice = settings.lane_slice
        self._about = about
        self._begun = begun
        self._serves = serves
        self._owner = owner
        self._lease = lease

    def hand_on(self, plan: Plan, transition: Transition) -> Handoff | None:
        """What to go on with, if the transition ends an item and another one waits."""
        entry = entry_after(plan, transition.branch)
        if entry is None or transition.branch is None or not self._may_go_on(plan, entry):
            return None
        self.plan = plan
        return make_handoff(plan, transition.branch, self._owner(), self._lease(entry))

    def _may_go_on(self, plan: Plan, entry: Node) -> bool:
        """The process is killed by the time limit of the message, which is that of its step."""
        if entry.step.timeout != self._about.step.timeout or not self._serves(entry):
            return False
        mapped = plan.scopes[entry.scope].item_of
        assert mapped is not None
        passed = time.monotonic() - self._begun
        limits = [MOST_SECONDS if mapped.batch else self._slice]
        if entry.step.timeout is not None:
            limits.append(WITHIN_LIMIT)
        return self.count < (mapped.batch or MOST_ITEMS) and passed < min(limits)
