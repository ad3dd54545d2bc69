"""Transitions that people ask for: pause, resume, retry. Ending is `Journal.end`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orch.journal.heads import of_error
from orch.journal.lives import Lives
from orch.journal.scripts import flat
from orch.workflows import life
from orch.workflows.commit import Event
from orch.workflows.reopening import Reopening
from orch.workflows.state import ExecutionStatus


@dataclass(frozen=True)
class Steered:
    """What became of a request. ``done``: by this call; ``status``: what the execution was.

    ``status`` is None when there is no such execution; ``paths`` need a message.
    """

    done: bool
    status: ExecutionStatus | None
    paths: tuple[str, ...] = ()


class Steering(Lives):
    """Each method is idempotent: asked again, it answers ``done=False`` and changes nothing."""

    def pause(self, execution: str, detail: Mapping[str, Any]) -> Steered:
        """Let nothing of a running execution start any more."""
        now = self.clock()
        reply = self.run(
            "pause",
            record=self.keys.record(execution),
            history=self.keys.history(execution),
            stream=self.keys.stream(self.keys.partition(execution)),
            watch=self.keys.watch(self.keys.partition(execution)),
            index=self._index_of(execution),
            now=now,
            id=execution,
            event=Event("paused", detail=detail).dumps(now),
            **self._life(execution, life.PAUSED, now, detail),
        )
        return self._steered("pause", reply, "PAUSED", ExecutionStatus.RUNNING)

    def resume(
        self, execution: str, fields: Mapping[str, str], detail: Mapping[str, Any]
    ) -> Steered:
        """Let a paused execution go on. ``fields``: of the record, JSON texts."""
        now = self.clock()
        reply = self.run(
            "resume",
            **self._keys(execution),
            index=self._index_of(execution),
            now=now,
            id=execution,
            grace=self.grace,
            fields=flat(fields.items()),
            event=Event("resumed", detail=detail).dumps(now),
            **self._life(execution, life.RESUMED, now, detail),
        )
        return self._steered("resume", reply, "RESUMED", ExecutionStatus.PAUSED)

    def retry(
        self,
        execution: str,
        found: Reopening,
        events: Iterable[Event] = (),
        deadline: int = 0,
        error: str = "",
        seen: int = 0,
    ) -> Steered:
        """Let a failed execution go on, if it has not failed again since ``seen``, ms.

        ``deadline`` in ms, 0: none; ``error``: the name of what it failed with.
        """
        now, events = self.clock(), list(events)
        reply = self.run(
            "retry",
            **self._all_keys(execution),
            index=self._index_of(execution),
            now=now,
            id=execution,
            listening=self.keys.listening(self.keys.partition(execution)),
            seen=seen,
            tokens=[token.as_list() for token in found.tokens.values()],
            turns=[part for scope, turn in found.turns.items() for part in (scope, turn.dumps())],
            drops=found.drops,
            grace=self.grace,
            deadline=deadline,
            events=[event.dumps(now) for event in events],
            error=of_error(error) if error else "",
            **self._life(execution, life.RETRIED, now, _said_first(events)),
        )
        return self._steered("retry", reply, "RETRIED", ExecutionStatus.FAILED)

    def _steered(self, script: str, reply: Any, done: str, before: ExecutionStatus) -> Steered:
        word = self._word(script, reply, done, "DONE", "MISSING")
        if word == done:
            return Steered(True, before, tuple(reply[1:]))
        return Steered(False, ExecutionStatus(reply[1]) if word == "DONE" else None)


def _said_first(events: Iterable[Event]) -> Mapping[str, Any]:
    """What the first event says beside its word: who wants it, and why."""
    return next((event.detail or {} for event in events), {})
