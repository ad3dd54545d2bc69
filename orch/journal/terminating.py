"""The transition with which an execution is ended from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.journal.arguments import error_head
from orch.journal.claiming import Refused
from orch.journal.lives import Lives
from orch.journal.scripts import flat
from orch.workflows.calls import Call
from orch.workflows.commit import End, Event
from orch.workflows.gates import Slots
from orch.workflows.state import ExecutionStatus, encode


@dataclass(frozen=True)
class Ended:
    """An execution has ended. ``parent``: who called it; ``calls``: its own, now cancelled;
    ``slots``: what it has to give back."""

    parent: Call | None = None
    calls: tuple[Call, ...] = ()
    slots: Slots | None = None


class Terminating(Lives):
    """By a deadline, a budget or a person, whatever it is doing."""

    def end(
        self,
        execution: str,
        status: ExecutionStatus,
        error: Mapping[str, Any],
        *,
        by: str = "",
        notices: Sequence[tuple[str, str]] = (),
    ) -> Refused | Ended:
        """End an execution from outside. Refused: it had ended before, or is not there.

        ``by``: who wants it, for the history. ``notices``: what is told outside, as (id, JSON).
        """
        now = self.clock()
        detail = {"status": status.value, "error": error} | ({"by": by} if by else {})
        reply = self.run(
            "end_execution",
            **self._all_keys(execution),
            listening=self.keys.listening(self.keys.partition(execution)),
            outbox=self.keys.outbox(self.keys.partition(execution)),
            **self._index_and_totals(execution),
            now=now,
            id=execution,
            status=status.value,
            error=encode(error),
            name=error_head(str(error.get("name") or "")),
            event=Event("ended", detail=detail).dumps(now),
            keep=self.expires,
            grace=self.grace,
            notices=flat(notices),
            life=self._told_of_end(execution, End(status, error=encode(error)), now),
        )
        word = self._word("end_execution", reply, "ENDED", "DONE", "MISSING")
        if word != "ENDED":
            return Refused(word, tuple(reply[1:]))
        parent = Call.loads(reply[1]) if reply[1] else None
        slots = Slots.loads(reply[3], reply[4])
        return Ended(parent, Call.all_of(execution, reply[2]), slots)
