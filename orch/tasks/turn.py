"""How far a worker goes on by itself from one message: with steps, and with items of a map."""

from __future__ import annotations

import time
from collections.abc import Callable

from orch.journal.journal import Claimed
from orch.journal.scripts import Behind, Beside
from orch.journal.wire import Command
from orch.settings import Settings
from orch.workflows.commit import Open, Transition
from orch.workflows.handoff import (
    Handoff,
    entry_after,
    hand_over,
    is_settled,
    make_handoff,
)
from orch.workflows.message import addresses_in
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.rungs import subject_of
from orch.workflows.state import StepStatus
from orch.workflows.view import View

Serves = Callable[[Node], bool]
"""Whether this worker has the code for a step, and takes messages from its queue."""

MessageFor = Callable[[Plan, View, str], Behind]
"""What sends the message for a path, to go with the script that opens it; (): it cannot."""

MOST_ITEMS = 1000
"""Of `batch: auto`: a message of which Flower says nothing for longer would look lost."""

MOST_SECONDS = 5.0
"""After which a worker goes on with nothing: one that is told to end does so soon."""

AHEAD = 0.005
"""Seconds for which it counts whether messages waited when a step was settled."""

WITHIN_LIMIT = 0.5
"""Seconds by which the `timeout` of what is gone on with may end after that of the message's own
step. Its process is killed one second after that (`kill_after`), so that the journal ends the
attempt before."""


class Turn:
    """One message, and what is done from it. ``about``: its own step.

    ``waits``: whether other messages wait in the queue that it came from; ``asks``: the command
    that asks so, where that may go with a commit. ``message_for``: how what it does not go on with
    is sent, where that may, too. ``count``: steps, ``items``: of a map, the first one included.
    ``following``: what is done next. ``beside``: what is to be asked with the commit that takes it.
    """

    def __init__(
        self,
        settings: Settings,
        about: Node,
        begun: float,
        *,
        serves: Serves,
        owner: Callable[[], str],
        lease: Callable[[Node], int],
        waits: Callable[[], bool],
        message_for: MessageFor | None = None,
        asks: Callable[[], Command | None] = lambda: None,
    ) -> None:
        self.count = 1
        self.items = 1
        self.following: tuple[Plan, str, Claimed] | None = None
        self._settings = settings
        self._about = about
        self._begun = begun
        self._serves = serves
        self._owner = owner
        self._lease = lease
        self._waits = waits
        self._asks = asks
        self.beside: Beside | None = None
        self._asked = 0.0
        self._message_for = message_for
        self._looked = (1, begun)  # at how many steps, and when, it was seen that nobody waits

    def offer(self, plan: Plan, view: View, transition: Transition) -> Handoff | None:
        """What to go on with: the next item, or a step that is opened."""
        if self.following is not None or transition.end is not None:
            return None
        if transition.branch is not None:
            entry = entry_after(plan, transition.branch)
            if entry is None or not self._may_take_item(plan, entry):
                return None
            owner, lease = self._owner(), self._lease(entry)
            return make_handoff(plan, transition.branch, owner, lease, view)
        opened = self._first_of(plan, transition) if is_settled(transition) else None
        if opened is None or not self._has_turn():
            return None
        lease = self._lease(_node_of(plan, transition, opened))
        return hand_over(plan, opened, view, self._owner(), lease)

    def takes(self, plan: Plan, node: Node) -> tuple[str, int] | None:
        """As whom, and for how many ms, it goes on with a step that always follows; None: it does
        not."""
        if self.following is not None or not self._may_take(plan, node) or not self._has_turn():
            self.beside = None
            return None
        self._look_ahead()
        return self._owner(), self._lease(node)

    def message_for(self, plan: Plan, view: View, path: str) -> Behind:
        """What sends a message for a step that it does not go on with; (): nothing does at once."""
        return () if self._message_for is None else self._message_for(plan, view, path)

    def take(self, plan: Plan, path: str, claimed: Claimed) -> None:
        self.following = plan, path, claimed

    def go_on(self) -> tuple[Plan, str, Claimed] | None:
        """What is done next, from now on."""
        found, self.following = self.following, None
        if found is not None:
            self.count += 1
        return found

    def _first_of(self, plan: Plan, transition: Transition) -> Open | None:
        for opened in transition.opens:
            waits = opened.state.status is StepStatus.DISPATCHED
            if waits and self._may_take(plan, _node_of(plan, transition, opened)):
                return opened
        return None

    def _may_take(self, plan: Plan, node: Node) -> bool:
        """Where the message has a time limit, it is that of its own step, from its beginning on."""
        own, passed = self._about.step.timeout, time.monotonic() - self._begun
        if own is not None:
            timeout = node.step.timeout
            if timeout is None or passed + (timeout - own) / 1000 > WITHIN_LIMIT:
                return False
        if passed >= MOST_SECONDS or not plan.is_handed_on(node, self._settings.handoff):
            return False
        return self._serves(node)

    def _has_turn(self) -> bool:
        """Whether it goes on: for so many steps and so long, and further while nobody waits."""
        settings, now = self._settings, time.monotonic()
        steps, since = self._looked
        few = self.count - steps < settings.handoff_steps - 1
        if few and now - since < settings.handoff_slice:
            return True
        if self._others_wait(now):
            return False
        self._looked = self.count + 1, now
        return True

    def _others_wait(self, now: float) -> bool:
        """As it was answered with the last commit, if that was just now; else it is asked."""
        beside, self.beside = self.beside, None
        if beside is None or beside.answer is None or now - self._asked >= AHEAD:
            return self._waits()
        return bool(beside.answer)

    def _look_ahead(self) -> None:
        """Have it asked with this commit whether messages wait, if that is to be known at the next
        one."""
        steps, _ = self._looked
        command = None
        if self.count + 1 - steps >= self._settings.handoff_steps - 1:
            command = self._asks()
        self.beside = None if command is None else Beside(command)
        self._asked = time.monotonic()

    def _may_take_item(self, plan: Plan, entry: Node) -> bool:
        mapped = plan.scopes[entry.scope].item_of
        assert mapped is not None
        passed = time.monotonic() - self._begun
        limit = MOST_SECONDS if mapped.batch else self._settings.lane_slice
        if self.items >= (mapped.batch or MOST_ITEMS) or passed >= limit:
            return False
        if entry.step.timeout != self._about.step.timeout or not self._may_take(plan, entry):
            return False
        self.items += 1
        return True


def _node_of(plan: Plan, transition: Transition, opened: Open) -> Node:
    """What is opened, done where rules have just sent its messages."""
    node = plan.node(opened.path)
    if not node.routes:
        return node
    return plan.node(opened.path, addresses_in(transition.fields).get(subject_of(opened.path)))
