"""The EscalationManager: the inbox, what is decided there, and how one hears of it."""

from __future__ import annotations

import builtins
from itertools import islice
from typing import Any

from orch.control.runtime import Runtime
from orch.control.starting import check_json
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.escalation.inbox import InboxItem, item_of
from orch.escalation.statistics import Statistics, statistics_of
from orch.journal.escalations import OpenEscalation
from orch.workflows.escalation import DECISIONS, Ruling, Word
from orch.workflows.notices import ESCALATION_QUEUE
from orch.workflows.state import StepStatus

CLAIM_TIME = 3600.0
"""Seconds for which a claim holds, where nobody says."""

NOTHING: Any = object()
"""Not given, where null is a value."""


class EscalationManager:
    """Escalations of the executions in one Redis. Every method may raise Unreachable.

    ``id``: EXECUTION:PATH, as `list` gives it. ``by``: who acts, by default the user of this
    process. What is refused raises AlreadyDecided (which names who decided), NotAllowed,
    NotFound or InputError, and changes nothing.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.advancer = runtime.advancer

    def list(
        self,
        queue: str | None = None,
        *,
        by: str | None = None,
        everything: bool = False,
        limit: int | None = None,
    ) -> builtins.list[InboxItem]:
        """What waits for people, the oldest first; of one queue, or all.

        ``by``: only what this person has claimed. ``everything``: also what a rung is working on.
        """
        now = self.journal.clock()
        found = self.journal.open_escalations(queue)
        chosen = (
            each
            for each in found
            if (everything or each.escalation.queue)
            and (by is None or each.escalation.held(now) == by)
        )
        return [self._item(each, now) for each in islice(chosen, limit)]

    def show(self, id: str) -> InboxItem:
        """An escalation, open or resolved."""
        execution, path = _parse(id)
        record = self.journal.record(execution)
        found = self.journal.read_escalation(execution, path)
        if found is None:
            raise NotFound(
                f"execution {execution} has no escalation of a step {path!r}",
                hint="`orch inbox` lists those that wait for people",
            )
        state = self.journal.read_state(execution, path)
        if found.open and state is not None and state[1].status is not StepStatus.ESCALATED:
            found = found.ended(state[1].since)
        paused = record.status.value == "paused"
        told = OpenEscalation(execution, path, record.workflow, record.plan, paused, found)
        return self._item(told, self.journal.clock())

    def claim(self, id: str, *, seconds: float = CLAIM_TIME, by: str | None = None) -> InboxItem:
        """Take it on oneself for so long: nobody else decides it meanwhile."""
        return self._rule(id, "claim", by, until=self._until(seconds))

    def release(self, id: str, *, by: str | None = None) -> InboxItem:
        """Give a claim back."""
        return self._rule(id, "release", by)

    def delegate(
        self, id: str, to: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        """Hand it to another queue of the inbox, or, as `@NAME`, to a person."""
        known = self.runtime.settings.inbox_queues
        if known and not to.startswith("@") and to not in known:
            raise InputError(
                f"nobody watches a queue {to!r} of the inbox",
                hint=f"there are: {', '.join(sorted(known))}; a person is `@NAME`",
            )
        return self._rule(id, "delegate", by, target=to, until=self._until(seconds))

    def comment(self, id: str, text: str, *, by: str | None = None) -> InboxItem:
        return self._rule(id, "comment", by, note=text)

    def decide(
        self,
        id: str,
        decision: str,
        value: Any = NOTHING,
        *,
        to: str = "",
        note: str = "",
        by: str | None = None,
    ) -> InboxItem:
        """Decide what becomes of the step: `retry`, `skip`, `reroute`, `compensate`, `abort`; of an
        approval `answer`.

        ``value``: the edited input of a retry, the output of a skip, the answer. ``to``: where
        it is rerouted: a step of the same scope, else a capability.
        """
        if decision not in DECISIONS:
            raise InputError(
                f"{decision!r} is no decision; there are: {', '.join(DECISIONS)}",
            )
        given = value is not NOTHING
        if given and decision not in ("retry", "skip", "answer"):
            raise InputError(f"the decision `{decision}` takes no value")
        if bool(to) != (decision == "reroute"):
            wanted = "needs to know where to" if decision == "reroute" else "leads nowhere else"
            raise InputError(f"the decision `{decision}` {wanted}")
        if given:
            check_json(self.runtime.settings, f"what is given for {id}", value)
        if to:
            self._check_target(id, to)
        return self._rule(
            id, decision, by, value=value if given else None, given=given, target=to, note=note
        )

    def statistics(self) -> Statistics:
        """How many are open, by age, class, capability and rung; how long it took."""
        now = self.journal.clock()
        found = self.journal.open_escalations()
        items = [self._item(each, now) for each in found]
        capabilities = [self.runtime.plans.get(e.plan).node(e.path).capability for e in found]
        return statistics_of(items, capabilities, self.journal.resolved_escalations(), now)

    # --- behind them -------------------------------------------------------------------------

    def _rule(self, id: str, word: Any, by: str | None, **given: Any) -> InboxItem:
        execution, path = _parse(id)
        known: Word = word
        ruling = Ruling(known, by or current_user(), self.journal.clock(), **given)
        self.advancer.rule(execution, path, ruling)
        return self.show(id)

    def _until(self, seconds: float) -> int:
        if seconds <= 0:
            raise InputError(f"a claim of {seconds:g} s claims nothing")
        return self.journal.clock() + int(seconds * 1000)

    def _check_target(self, id: str, to: str) -> None:
        execution, path = _parse(id)
        plan = self.runtime.plans.get(self.journal.record(execution).plan)
        try:
            node = plan.node(path)
        except KeyError:
            raise NotFound(f"execution {execution} has no step {path!r}") from None
        steps = set(plan.scopes[node.scope].nodes)
        served = {queue for worker in self.journal.live_workers() for queue in worker["queues"]}
        served.discard(ESCALATION_QUEUE)
        if to in steps | served | set(plan.capabilities):
            return
        raise InputError(
            f"{to!r} is no step of the same scope, and no capability that a worker serves",
            hint=f"steps: {', '.join(sorted(steps))}; "
            f"capabilities: {', '.join(sorted(served)) or 'none, no worker lives'}",
        )

    def _item(self, found: OpenEscalation, now: int) -> InboxItem:
        return item_of(found, self.runtime.plans.get(found.plan), now)


def _parse(id: str) -> tuple[str, str]:
    execution, _, path = id.partition(":")
    if not execution or not path:
        raise InputError(
            f"{id!r} is no id of an escalation, which is EXECUTION:PATH",
            hint="`orch inbox` lists those that wait",
        )
    return execution, path
