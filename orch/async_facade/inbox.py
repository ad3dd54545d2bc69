"""What waits for people, and what was set aside."""

from __future__ import annotations

import asyncio
from typing import Any

from orch.async_facade.base import Base
from orch.escalation.inbox import InboxItem
from orch.escalation.manager import CLAIM_TIME, NOTHING
from orch.escalation.quarantine import QuarantinedStep
from orch.escalation.statistics import Statistics


class Inbox(Base):
    """What waits for people, and what was set aside."""

    async def list_escalations(
        self,
        queue: str | None = None,
        *,
        by: str | None = None,
        everything: bool = False,
        limit: int | None = None,
    ) -> list[InboxItem]:
        found = self.sync.list_escalations
        return await asyncio.to_thread(found, queue, by=by, everything=everything, limit=limit)

    async def get_escalation(self, id: str) -> InboxItem:
        return await asyncio.to_thread(self.sync.get_escalation, id)

    async def claim_escalation(
        self, id: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        return await asyncio.to_thread(self.sync.claim_escalation, id, seconds=seconds, by=by)

    async def release_escalation(self, id: str, *, by: str | None = None) -> InboxItem:
        return await asyncio.to_thread(self.sync.release_escalation, id, by=by)

    async def delegate_escalation(
        self, id: str, to: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        delegate = self.sync.delegate_escalation
        return await asyncio.to_thread(delegate, id, to, seconds=seconds, by=by)

    async def comment_escalation(self, id: str, text: str, *, by: str | None = None) -> InboxItem:
        return await asyncio.to_thread(self.sync.comment_escalation, id, text, by=by)

    async def decide_escalation(
        self,
        id: str,
        decision: str,
        value: Any = NOTHING,
        *,
        to: str = "",
        note: str = "",
        by: str | None = None,
    ) -> InboxItem:
        decide = self.sync.decide_escalation
        return await asyncio.to_thread(decide, id, decision, value, to=to, note=note, by=by)

    async def list_quarantine(self) -> list[QuarantinedStep]:
        return await asyncio.to_thread(self.sync.list_quarantine)

    async def replay_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        await asyncio.to_thread(self.sync.replay_quarantined, id, reason=reason, by=by)

    async def drop_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        await asyncio.to_thread(self.sync.drop_quarantined, id, reason=reason, by=by)

    async def escalation_statistics(self) -> Statistics:
        return await asyncio.to_thread(self.sync.escalation_statistics)
