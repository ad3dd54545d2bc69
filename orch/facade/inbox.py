"""What waits for people, and what was set aside."""

from __future__ import annotations

from typing import Any

from orch.escalation.inbox import InboxItem
from orch.escalation.manager import CLAIM_TIME, NOTHING
from orch.escalation.quarantine import QuarantinedStep
from orch.escalation.statistics import Statistics
from orch.facade.base import Base


class Inbox(Base):
    """What waits for people, and what was set aside."""

    # The inbox. ``id``: EXECUTION:PATH; ``by``: who acts, by default the user of this process.
    # What is refused raises AlreadyDecided (with who decided), NotAllowed, NotFound, InputError.

    def list_escalations(
        self,
        queue: str | None = None,
        *,
        by: str | None = None,
        everything: bool = False,
        limit: int | None = None,
    ) -> list[InboxItem]:
        """What waits for people, the oldest first; ``everything``: also what a rung works on."""
        return self.escalations.list(queue, by=by, everything=everything, limit=limit)

    def get_escalation(self, id: str) -> InboxItem:
        """An escalation or approval, open or resolved."""
        return self.escalations.show(id)

    def claim_escalation(
        self, id: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        """Take it on oneself for so long: nobody else decides it meanwhile."""
        return self.escalations.claim(id, seconds=seconds, by=by)

    def release_escalation(self, id: str, *, by: str | None = None) -> InboxItem:
        """Give a claim back."""
        return self.escalations.release(id, by=by)

    def delegate_escalation(
        self, id: str, to: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        """Hand it to another queue of the inbox, or, as `@NAME`, to a person."""
        return self.escalations.delegate(id, to, seconds=seconds, by=by)

    def comment_escalation(self, id: str, text: str, *, by: str | None = None) -> InboxItem:
        """Say something about it."""
        return self.escalations.comment(id, text, by=by)

    def decide_escalation(
        self,
        id: str,
        decision: str,
        value: Any = NOTHING,
        *,
        to: str = "",
        note: str = "",
        by: str | None = None,
    ) -> InboxItem:
        """Decide by `retry`, `skip`, `reroute`, `compensate`, `abort`, or `answer` an approval."""
        return self.escalations.decide(id, decision, value, to=to, note=note, by=by)

    def escalation_statistics(self) -> Statistics:
        """How many are open, by age, class, capability and rung; how long it took."""
        return self.escalations.statistics()

    def list_quarantine(self) -> list[QuarantinedStep]:
        """Steps that killed their workers too often, with the input that they had."""
        return self.quarantine.list()

    def replay_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Try one again, after a fix. ``id``: EXECUTION:PATH. Raises NotFound, NotAllowed."""
        self.quarantine.replay(id, reason=reason, by=by)

    def drop_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Give one up. ``id``: EXECUTION:PATH. Raises NotFound, NotAllowed."""
        self.quarantine.drop(id, reason=reason, by=by)
