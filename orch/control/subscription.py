"""Subscriptions: what happens to executions, told while it happens."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from orch.errors import InputError, OrchError, PositionLost, Unreachable
from orch.journal.journal import HistoryEntry, Journal
from orch.journal.stream import Position, StreamEntry, dump_position, parse_position

logger = logging.getLogger(__name__)

GAP = "gap"
"""The event that says that others are missing, since a subscriber was too slow for the stream."""

START = "start"
"""The position before the oldest event that is kept."""

BLOCK = 1000
"""Ms for which one read waits: a subscription that is closed ends within them."""

KNOWN = 10_000
"""Executions whose workflow is remembered."""


class EventFilter(BaseModel):
    """Which events one wants; what is not given is not asked. Lists may be single values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workflow: tuple[str, ...] | None = None
    """Names of workflows."""
    execution: tuple[str, ...] | None = None
    """Ids of executions."""
    event: tuple[str, ...] | None = None
    """Words of the history: `started`, `claimed`, `completed`, `failed`, `ended`, …"""
    path: tuple[str, ...] | None = None
    """Paths of steps; `*` and `?` stand for any text, any letter."""

    @field_validator("*", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def takes(self, event: ExecutionEvent) -> bool:
        if event.event == GAP:
            return True
        return (
            (self.workflow is None or event.workflow in self.workflow)
            and (self.execution is None or event.execution in self.execution)
            and (self.event is None or event.event in self.event)
            and (self.path is None or any(fnmatchcase(event.path, p) for p in self.path))
        )


class ExecutionEvent(BaseModel):
    """Something that happened to an execution. ``at``: ms since the epoch."""

    model_config = ConfigDict(frozen=True)

    execution: str
    workflow: str
    at: int
    event: str
    path: str = ""
    attempt: int = 0
    detail: Mapping[str, Any] = Field(default_factory=dict)
    _position: Position = PrivateAttr(default_factory=dict)

    @property
    def position(self) -> str:
        """Where a later subscription goes on behind this event."""
        return dump_position(self._position)

    def as_dict(self) -> dict[str, Any]:
        return {
            "execution": self.execution,
            "workflow": self.workflow,
            "at": self.at,
            "event": self.event,
            "path": self.path,
            "attempt": self.attempt,
            "detail": dict(self.detail),
            "position": self.position,
        }


class Subscription:
    """Events as an iterator, from now or from a position; it waits for the next one.

    Those of one execution come in their order, each at least once: who goes on from the
    position of the last event that it dealt with misses none. Redis may go away meanwhile.
    Events of maps' items that go well at once are not in the history, and not here either.
    Raises InputError for a filter or a position that is none, PositionLost, Unreachable.
    """

    def __init__(
        self,
        journal: Journal,
        filter: EventFilter | Mapping[str, Any] | None = None,
        *,
        since: str | None = None,
        follow: bool = True,
    ) -> None:
        self.journal = journal
        self.filter = parse_filter(filter)
        self._follow = follow
        self._closed = False
        self._workflows: dict[str, str] = {}
        self._kept = time.monotonic()
        if since is None:
            self._position = dict(journal.open_stream())
        elif since == START:
            journal.keep_stream()
            self._position = dict.fromkeys(range(journal.keys.partitions), "0-0")
        else:
            self._position = dict(parse_position(since, journal.keys.partitions))
            if lost := journal.gaps(self._position, self._position):
                raise PositionLost(
                    f"events behind this position are gone, in {len(lost)} of "
                    f"{len(self._position)} partitions: nobody listened for longer than "
                    f"{journal.settings.stream_retention:g} s, or there were too many",
                    hint="go on from now, and read what was missed from the histories of the "
                    "executions; ORCH_STREAM_RETENTION and ORCH_STREAM=on keep more",
                )
            journal.keep_stream()

    @property
    def position(self) -> str:
        """Behind the last event that was given."""
        return dump_position(self._position)

    def close(self) -> None:
        """End the iteration, within a second. May be called from another thread."""
        self._closed = True

    def __iter__(self) -> Iterator[ExecutionEvent]:
        pause = 0.1
        while not self._closed:
            try:
                entries = self._read()
            except Unreachable as exc:
                if not self._follow:
                    raise
                logger.warning("the subscription waits: %s", exc)
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.1
            if not entries and not self._follow:
                return
            yield from self._events(entries)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> list[StreamEntry | None]:
        """Entries behind the position; None stands for a gap before those that follow."""
        if time.monotonic() - self._kept > self.journal.settings.stream_retention / 4:
            self.journal.keep_stream()
            self._kept = time.monotonic()
        found = self.journal.read_stream(self._position, block=BLOCK if self._follow else 1)
        begun = {e.partition for e in found if self._position[e.partition] != "0-0"}
        gaps = self.journal.gaps(self._position, begun)
        self._learn({entry.execution for entry in found if entry.execution})
        return [None, *found] if gaps else [*found]

    def _events(self, entries: list[StreamEntry | None]) -> Iterator[ExecutionEvent]:
        for entry in entries:
            if entry is None:
                logger.warning("events are missing here: they came faster than they were read")
                yield _placed(HistoryEntry(self.journal.clock(), GAP, "", 0), "", "", self._now())
                continue
            # The entry is behind us with its last event: one that is dealt with in part comes
            # again.
            workflow = self._workflows.get(entry.execution, "")
            behind = {**self._position, entry.partition: entry.id}
            for number, told in enumerate(entry.events, 1):
                position = behind if number == len(entry.events) else self._position
                event = _placed(told, entry.execution, workflow, position)
                if self.filter.takes(event):
                    yield event
                if self._closed:
                    return
            self._position = behind

    def _now(self) -> Position:
        return dict(self._position)

    def _learn(self, executions: set[str]) -> None:
        new = sorted(executions - self._workflows.keys())
        if len(self._workflows) + len(new) > KNOWN:
            self._workflows.clear()
            new = sorted(executions)
        found = self.journal.workflows_of(new) if new else []
        self._workflows.update((e, w or "") for e, w in zip(new, found, strict=True))


def _placed(
    told: HistoryEntry, execution: str, workflow: str, position: Position
) -> ExecutionEvent:
    event = ExecutionEvent(
        execution=execution,
        workflow=workflow,
        at=told.at,
        event=told.event,
        path=told.path,
        attempt=told.attempt,
        detail=told.detail,
    )
    event._position = position
    return event


class AsyncSubscription:
    """A `Subscription` for `async for`."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._events = iter(subscription)

    @property
    def position(self) -> str:
        return self.subscription.position

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> ExecutionEvent:
        found = await asyncio.to_thread(next, self._events, None)
        if found is None:
            raise StopAsyncIteration
        return found

    async def close(self) -> None:
        """End the iteration, within a second."""
        self.subscription.close()

    async def __aenter__(self) -> AsyncSubscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Listener:
    """A subscription whose events a thread gives to a function."""

    def __init__(self, subscription: Subscription, callback: Callable[[ExecutionEvent], Any]):
        self.subscription = subscription
        self._callback = callback
        self._thread = threading.Thread(target=self._run, name="orch-events", daemon=True)
        self._thread.start()

    @property
    def position(self) -> str:
        return self.subscription.position

    def close(self) -> None:
        """End it: when this returns, the function is called no more."""
        self.subscription.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            for event in self.subscription:
                try:
                    self._callback(event)
                except Exception:
                    logger.exception("the callback failed for %s; it goes on", event)
        except OrchError:
            logger.exception("the subscription has ended")


def parse_filter(given: EventFilter | Mapping[str, Any] | None) -> EventFilter:
    """Raises InputError with all that is wrong."""
    if isinstance(given, EventFilter):
        return given
    try:
        return EventFilter.model_validate(given or {})
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise InputError(
            f"the filter of events is wrong: {problems}",
            hint=f"it has {', '.join(EventFilter.model_fields)}",
        ) from exc
