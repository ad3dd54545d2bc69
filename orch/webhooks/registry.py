"""The webhooks that are registered: kept in Redis, so that all workers know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from orch.control.noting import webhook_changed
from orch.control.status import instant
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.webhooks.webhook import Webhook

MOST_WEBHOOKS = 100


class WebhookRegistry:
    """Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def register(self, event: str, url: str, *, by: str | None = None, **given: Any) -> str:
        """Its id; the same event, URL and workflows give the same one. Raises InputError."""
        made = _checked({"event": event, "url": url, **given})
        known = self.journal.read_webhooks()
        if made.named not in known and len(known) >= MOST_WEBHOOKS:
            raise InputError(
                f"there are {MOST_WEBHOOKS} webhooks, and no more may be",
                hint="remove some; a pattern such as `escalation.*` stands for several",
            )
        kept = made.model_copy(
            update={
                "id": made.named,
                "created": instant(self.journal.clock()),
                "by": by or current_user(),
            }
        )
        text, at = kept.model_dump_json(exclude_defaults=True), self.journal.clock()
        note = webhook_changed(kept.id, kept.event, "registered", kept.by, at)
        self.journal.store_webhook(kept.id, text, note)
        return kept.id

    def list(self) -> Sequence[Webhook]:
        """All of them, in the order in which they were registered."""
        found = [Webhook.model_validate_json(t) for t in self.journal.read_webhooks().values()]
        return sorted(found, key=lambda each: (each.created, each.id))

    def get(self, id: str) -> Webhook:
        """Raises NotFound."""
        for each in self.list():
            if each.id == id:
                return each
        raise NotFound(f"there is no webhook {id!r}", hint="`orch webhook list` lists them")

    def remove(self, id: str) -> bool:
        """False: there was none."""
        text = self.journal.read_webhooks().get(id)
        if text is None:
            return False
        event = Webhook.model_validate_json(text).event
        note = webhook_changed(id, event, "removed", current_user(), self.journal.clock())
        return self.journal.remove_webhook(id, note)

    def wanting(self, type: str, workflow: str) -> Sequence[Webhook]:
        """Those that are to be told of it."""
        return [each for each in self.list() if each.wants(type, workflow)]


def _checked(given: dict[str, Any]) -> Webhook:
    try:
        return Webhook.model_validate(given)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg'].removeprefix('Value error, ')}"
            for e in exc.errors(include_url=False, include_context=False, include_input=False)
        )
        raise InputError(
            f"a webhook cannot be registered: {problems}",
            hint="docs/webhooks.md says what they are told of",
        ) from None
