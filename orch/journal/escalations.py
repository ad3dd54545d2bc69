"""Escalations in Redis: those that are open, by the queue of the inbox, and single ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orch.journal.connection import Connection
from orch.journal.external import LAST
from orch.workflows.escalation import INBOX_MARK, Escalation, escalation_field, waits_in
from orch.workflows.pausing import load_pauses, pauses_over
from orch.workflows.state import encode

PAGE = 1000

RESOLVED_FOR = 30 * 86_400_000
"""Ms for which a resolved escalation counts."""

MOST_RESOLVED = 10_000


@dataclass(frozen=True)
class OpenEscalation:
    """An escalated step, as the journal has it."""

    execution: str
    path: str
    workflow: str
    plan: str
    paused: bool
    escalation: Escalation


class EscalationRecords(Connection):
    """Every method may raise Unreachable."""

    def read_escalation(self, execution: str, path: str) -> Escalation | None:
        """The last escalation of a step, open or not; None: it had none."""
        text = self.read(self.redis.hget, self.keys.record(execution), escalation_field(path))
        return None if text is None else Escalation.loads(text)

    def open_escalations(self, queue: str | None = None) -> list[OpenEscalation]:
        """Those of one queue, or all, also those whose rung is at work; the oldest first."""
        wanted = INBOX_MARK if queue is None else f"{waits_in(queue)} "
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            pipe.zrangebylex(self.keys.listening(partition), f"[{wanted}", f"[{wanted}{LAST}")
        pages = self.read(pipe.execute)
        tokens = [tuple(member.rsplit(" ", 2)[1:]) for page in pages for member in page]
        found: list[OpenEscalation] = []
        for first in range(0, len(tokens), PAGE):
            found += self._read_open(tokens[first : first + PAGE])
        return sorted(found, key=lambda e: (e.escalation.raised, e.execution, e.path))

    def count_escalations(self) -> dict[str, int]:
        """Queue of the inbox -> how many wait in it; '' stands for none. Reads no record."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            bounds = f"[{INBOX_MARK}", f"[{INBOX_MARK}{LAST}"
            pipe.zrangebylex(self.keys.listening(partition), *bounds)
        found: Counter[str] = Counter()
        for page in self.read(pipe.execute):
            found.update(member.rsplit(" ", 2)[0].removeprefix(INBOX_MARK) for member in page)
        return dict(found)

    def note_resolved(self, notice: Mapping[str, Any]) -> None:
        """Keep it for the statistics. Harmless if repeated."""
        key, at = self.keys.resolved(), int(notice["at"])
        pipe = self.redis.pipeline(transaction=False)
        pipe.zadd(key, {encode(notice): at})
        pipe.zremrangebyscore(key, "-inf", self.clock() - RESOLVED_FOR)
        pipe.zremrangebyrank(key, 0, -MOST_RESOLVED - 1)
        self.read(pipe.execute)

    def resolved_escalations(self) -> list[Mapping[str, Any]]:
        """Notices of those that were resolved in the last 30 days, the latest 10,000."""
        since = self.clock() - RESOLVED_FOR
        found = self.read(self.redis.zrangebyscore, self.keys.resolved(), since, "+inf")
        return [json.loads(text) for text in found]

    def _read_open(self, tokens: Iterable[tuple[Any, ...]]) -> list[OpenEscalation]:
        tokens = list(tokens)
        pipe = self.redis.pipeline(transaction=False)
        for execution, path in tokens:
            names = ["workflow", "plan", "status", "pauses", escalation_field(path)]
            pipe.hmget(self.keys.record(execution), names)
        found = []
        for (execution, path), record in zip(tokens, self.read(pipe.execute), strict=True):
            workflow, plan, status, pauses, text = record
            if text is None or not (escalation := Escalation.loads(text)).open:
                continue  # it was dealt with between the two reads
            paused = status == "paused" or bool(pauses_over(load_pauses(pauses), path))
            found.append(OpenEscalation(execution, path, workflow, plan, paused, escalation))
        return found
