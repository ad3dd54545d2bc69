"""Webhooks that are registered, and what anybody wants to hear of."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from orch.journal.noted import Noted, without_notes
from orch.journal.notices import Notices
from orch.workflows.hearing import any_hears
from orch.workflows.note import Note
from orch.workflows.notices import NOTICE_MARK

BELIEVED = 5.0
"""Seconds for which a process believes to know what webhooks want to hear of."""

Heard = tuple[float, Sequence[str]]
NOTHING: Heard = (float("-inf"), ())
"""It is to be asked anew."""


class Webhooks(Notices, Noted):
    """Every method may raise Unreachable."""

    _heard: Heard = NOTHING

    def store_webhook(self, id: str, text: str, note: Note | None = None) -> None:
        """Over what was kept of it."""
        self.amend(self.keys.webhooks(), {id: text}, note=note)
        self._heard = NOTHING

    def read_webhooks(self) -> Mapping[str, str]:
        """Id -> JSON."""
        found = without_notes(self.read(self.redis.hgetall, self.keys.webhooks()))
        return dict(sorted(found.items()))

    def remove_webhook(self, id: str, note: Note | None = None) -> bool:
        """False: there is none."""
        found = self.amend(self.keys.webhooks(), drops=[id], note=note)
        self._heard = NOTHING
        return found

    def hears(self, type: str) -> bool:
        """Whether a webhook wants to hear of such happenings, as this process knew lately."""
        since, patterns = self._heard
        if time.monotonic() > since + BELIEVED:
            patterns = [json.loads(text)["event"] for text in self.read_webhooks().values()]
            self._heard = (time.monotonic(), patterns)
        return any_hears(patterns, type)

    def leave_new_notice(self, notice: str, text: str, due: int) -> None:
        """Put what is to be told into the outbox, to be looked at at ``due``, ms."""
        keys = self._of_notice(notice)

        def leave() -> None:
            pipe = self.redis.pipeline(transaction=True)
            pipe.hset(keys["outbox"], notice, text)
            pipe.zadd(keys["watch"], {f"{NOTICE_MARK}{notice} ": due})
            pipe.execute()

        self.read(leave)
