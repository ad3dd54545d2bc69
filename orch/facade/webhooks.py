"""Webhooks: who is told over HTTP of what happens."""

from __future__ import annotations

from collections.abc import Sequence

from orch.facade.base import Base
from orch.webhooks.webhook import Webhook


class Webhooks(Base):
    """Webhooks: who is told over HTTP of what happens."""

    def register_webhook(
        self,
        event: str,
        url: str,
        *,
        workflows: Sequence[str] = (),
        secret: str | None = None,
        timeout: float = 10.0,
        by: str | None = None,
    ) -> str:
        """Have a URL told of what happens; an id. The same event, URL and workflows: the same id.

        ``event``: such as `execution.failed`, `escalation.*`, `event.NAME`. ``workflows``: only
        of executions of these. ``secret``: name of the secret `webhook.…` that is the key of the
        signature. ``timeout``: s that it has to answer. Raises InputError, also for what no
        webhook is told of.
        """
        return self.webhooks.register(
            event, url, workflows=list(workflows), secret=secret, timeout=timeout, by=by
        )

    def list_webhooks(self) -> list[Webhook]:
        """All of them, in the order in which they were registered."""
        return list(self.webhooks.list())

    def remove_webhook(self, id: str) -> bool:
        """It is told nothing more. False: there was none."""
        return self.webhooks.remove(id)
