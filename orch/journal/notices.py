"""The outbox: notices that are to be delivered, each until it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orch.journal.connection import Connection
from orch.workflows.notices import NOTICE_MARK, execution_of
from orch.workflows.state import encode


class Notices(Connection):
    """Every method may raise Unreachable."""

    def read_notice(self, notice: str) -> Mapping[str, Any] | None:
        """What is to be told; None: it is delivered."""
        text = self.read(self.redis.hget, self._outbox(notice), notice)
        return None if text is None else json.loads(text)

    def take_notice(self, notice: str, lease: int) -> Mapping[str, Any] | None:
        """Deliver it oneself, for ``lease`` ms; None: it is delivered, or another one does."""
        reply = self.run("take_notice", **self._of_notice(notice), due=self.clock() + lease)
        word = self._word("take_notice", reply, "TAKEN", "HELD", "GONE")
        return json.loads(reply[1]) if word == "TAKEN" else None

    def leave_notice(self, notice: str, content: Mapping[str, Any] | None, due: int = 0) -> None:
        """It is delivered (None), or is to be tried again at ``due``, ms, as ``content`` says."""
        text = "" if content is None else encode(content)
        reply = self.run("leave_notice", **self._of_notice(notice), text=text, due=due)
        self._word("leave_notice", reply, "LEFT")

    def look_at_notice(self, notice: str, due: int) -> None:
        """Look at it again at ``due``, ms."""
        keys = self._of_notice(notice)
        self.read(self.redis.zadd, keys["watch"], {f"{NOTICE_MARK}{notice} ": due}, xx=True)

    def _outbox(self, notice: str) -> str:
        return self.keys.outbox(self.keys.partition(execution_of(notice)))

    def _of_notice(self, notice: str) -> dict[str, Any]:
        partition = self.keys.partition(execution_of(notice))
        return {
            "outbox": self.keys.outbox(partition),
            "watch": self.keys.watch(partition),
            "now": self.clock(),
            "notice": notice,
        }
