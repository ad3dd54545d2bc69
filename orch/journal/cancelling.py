"""Transitions of an execution that unwinds: it is cancelled, or failed and is compensated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.journal import heads
from orch.journal.lives import Lives
from orch.journal.scripts import flat
from orch.workflows.calls import Call
from orch.workflows.commit import End, Event, Open
from orch.workflows.compensating import CANCELLED
from orch.workflows.gates import Slots
from orch.workflows.state import ExecutionStatus


@dataclass(frozen=True)
class Cancelled:
    """What became of a request to cancel.

    ``done``: by this call; ``status``: what the execution is then, None where there is none.
    ``parent``: who called it, if it has ended; ``calls``: its tokens that wait for a child.
    """

    done: bool
    status: ExecutionStatus | None
    parent: Call | None = None
    calls: tuple[Call, ...] = ()
    slots: Slots | None = None


class Cancelling(Lives):
    """Each method is idempotent: asked again, it changes nothing."""

    def cancel(
        self, execution: str, message: str, *, by: str, grace: int, undoes: bool
    ) -> Cancelled:
        """Let nothing start any more; what runs has ``grace`` ms to end.

        ``undoes``: a step may have to be compensated. Where neither is so, it ends at once.
        """
        error = {"name": CANCELLED, "message": message}
        detail = {"by": by, "reason": message, "grace": grace}
        begun = Event(ExecutionStatus.CANCELLING.value, detail=detail)
        return self._unwind(execution, error, begun, by, grace, undoes)

    def fail(
        self,
        execution: str,
        error: Mapping[str, Any],
        *,
        by: str = "",
        grace: int,
        notices: Sequence[tuple[str, str]] = (),
    ) -> Cancelled:
        """As `cancel`, of one that will end as failed, with ``error``, once what was done is
        undone. ``notices``: what is told outside, as (id, JSON)."""
        detail = {"error": error, "grace": grace} | ({"by": by} if by else {})
        begun = Event(ExecutionStatus.COMPENSATING.value, detail=detail)
        return self._unwind(execution, error, begun, by, grace, notices=notices)

    def _unwind(
        self,
        execution: str,
        error: Mapping[str, Any],
        begun: Event,
        by: str,
        grace: int,
        undoes: bool = True,
        notices: Sequence[tuple[str, str]] = (),
    ) -> Cancelled:
        """``begun``: its word is the status that it comes to."""
        now, becomes = self.clock(), ExecutionStatus(begun.word)
        message = str(error.get("message", ""))
        asked = {"message": message, "by": by, "at": now, "until": now + grace}
        ended = {"status": ExecutionStatus.CANCELLED.value, "error": error, "by": by}
        reply = self.run(
            "cancel",
            **self._all_keys(execution),
            listening=self.keys.listening(self.keys.partition(execution)),
            **self._index_and_totals(execution),
            outbox=self.keys.outbox(self.keys.partition(execution)),
            name=heads.of_error(CANCELLED),
            now=now,
            id=execution,
            becomes=becomes.value,
            asked=_dumps(asked),
            look=now + min(grace, self.grace),
            undoes=int(undoes),
            error=_dumps(error),
            begun=begun.dumps(now),
            ended=Event("ended", detail=ended).dumps(now),
            keep=self.expires,
            grace=self.grace,
            notices=flat(notices),
            life=self._told_of_end(
                execution, End(ExecutionStatus.CANCELLED, error=_dumps({**error, "by": by})), now
            ),
        )
        word = self._word("cancel", reply, "ENDED", "UNWINDS", "DONE", "MISSING")
        if word in ("DONE", "MISSING"):
            return Cancelled(False, ExecutionStatus(reply[1]) if word == "DONE" else None)
        status = ExecutionStatus.CANCELLED if word == "ENDED" else becomes
        calls = Call.all_of(execution, reply[2])
        parent = Call.loads(reply[1]) if reply[1] else None
        slots = Slots.loads(reply[3], reply[4]) if word == "ENDED" else None
        return Cancelled(True, status, parent, calls, slots)

    def fence(self, execution: str, paths: Sequence[str]) -> int:
        """End the steps at ``paths`` that run still; how many."""
        reply = self.run(
            "fence", **self._keys(execution), now=self.clock(), id=execution, paths=list(paths)
        )
        word = self._word("fence", reply, "FENCED", "DONE", "MISSING")
        return int(reply[1]) if word == "FENCED" else 0

    def undo(self, execution: str, opened: Open) -> bool:
        """Open a compensation. False: it is there, or must not start any more."""
        now = self.clock()
        reply = self.run(
            "undo",
            **self._keys(execution),
            id=execution,
            path=opened.path,
            state=opened.state.dumps(),
            due=opened.due or now,
            event=Event("compensating", opened.path, 1).dumps(now),
        )
        return self._word("undo", reply, "OPENED", "DONE", "EXISTS", "MISSING") == "OPENED"

    def look_at_whole(self, execution: str, due: int) -> None:
        """Look at an execution as a whole at ``due``, unless it has ended in the meantime."""
        watch = self.keys.watch(self.keys.partition(execution))
        self.read(self.redis.zadd, watch, {f"{execution} ": due}, xx=True)

    def read_output(self, execution: str, path: str) -> Any:
        """The output of a step that completed."""
        text = self.read(self.redis.hget, self.keys.steps(execution), f"={path}")
        return None if text is None else json.loads(text)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
