"""Webhooks: who is told over HTTP of what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orch.async_facade.base import Base
from orch.webhooks.webhook import Webhook


class Webhooks(Base):
    """Webhooks: who is told over HTTP of what happens."""

    async def register_webhook(
        self,
        event: str,
        url: str,
        *,
        workflows: Sequence[str] = (),
        secret: str | None = None,
        timeout: float = 10.0,
        by: str | None = None,
    ) -> str:
        register = self.sync.register_webhook
        return await asyncio.to_thread(
            register, event, url, workflows=workflows, secret=secret, timeout=timeout, by=by
        )

    async def list_webhooks(self) -> list[Webhook]:
        return await asyncio.to_thread(self.sync.list_webhooks)

    async def remove_webhook(self, id: str) -> bool:
        return await asyncio.to_thread(self.sync.remove_webhook, id)
