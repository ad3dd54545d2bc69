"""What is told outside of the life of an execution, in the script that commits it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orch.journal.webhooks import Webhooks
from orch.workflows.commit import End
from orch.workflows.external import ASSIGNMENT
from orch.workflows.hearing import LIFE_MARK
from orch.workflows.life import FAILED, STARTED, TOLD, notice_of_life


class Lives(Webhooks):
    def tells(self, word: str) -> bool:
        """Whether anybody wants to know, of any execution."""
        return word in TOLD[self.settings.remember] or self.hears(f"{LIFE_MARK}{word}")

    def _life(
        self, execution: str, word: str, now: int, detail: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Arguments of a script: the outbox, and the notice, if anybody wants to know."""
        told = [*notice_of_life(execution, word, now, detail), now] if self.tells(word) else []
        return {
            "outbox": self.keys.outbox(self.keys.partition(execution)),
            "life": told,
        }

    def tells_of_start(self, workflow: str) -> bool:
        """As `tells`. That a task is assigned is told with whatever is notable."""
        return self.tells(STARTED) or (workflow == ASSIGNMENT and self.tells(FAILED))

    def _told_of_start(self, execution: str, workflow: str, now: int) -> list[Any]:
        """As `_told_of_end`."""
        if not self.tells_of_start(workflow):
            return []
        return [*notice_of_life(execution, STARTED, now, {}), now]

    def _told_of_end(self, execution: str, end: End | None, now: int) -> list[Any]:
        """The notice of an end, flat, with when it is due; [] where nobody wants to know."""
        if end is None or not self.tells(end.status.value):
            return []
        error = {"error": json.loads(end.error)} if end.error else {}
        return [*notice_of_life(execution, end.status.value, now, error), now]
