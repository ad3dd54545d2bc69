"""What one script commits: a transition, a frozen value, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.workflows.state import ExecutionStatus, StepState, StepStatus, encode


@dataclass(frozen=True)
class Open:
    """A step state to write. ``due``: when to look at it, ms; None: it is not live."""

    path: str
    state: StepState
    due: int | None = None
    listens: str = ""  # for which event: `subscription` of its name and correlation


@dataclass(frozen=True)
class BranchEnd:
    """``scope``, a branch or an iteration of the step at ``join``, ended, well or not."""

    join: str
    scope: str
    ok: bool
    text: str  # JSON of the output, or of the failure


@dataclass(frozen=True)
class End:
    status: ExecutionStatus
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Event:
    """One entry of the history: what happened to which attempt of which path."""

    word: str
    path: str = ""
    attempt: int = 0
    detail: Mapping[str, Any] | None = None

    def dumps(self, now: int) -> str:
        values: list[Any] = [now, self.word, self.path, self.attempt]
        if self.detail:
            values.append(self.detail)
        return encode(values)


@dataclass(frozen=True)
class Transition:
    """All that one script commits: nothing of it holds without the rest."""

    path: str
    state: StepState | None
    due: int | None = None  # of the path itself, if it stays live
    opens: tuple[Open, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()  # fields of the steps' hash: outputs and failures
    fields: tuple[tuple[str, str], ...] = ()  # fields of the record: variables and the like
    once: str = ""  # a field of the record that must not be there yet
    branch: BranchEnd | None = None
    end: End | None = None
    events: tuple[Event, ...] = ()
    cancels_below: bool = False  # whether the live tokens in its branches end with it

    @property
    def dispatched(self) -> tuple[str, ...]:
        """Paths that need a message now."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.DISPATCHED)

    @property
    def listening(self) -> tuple[str, ...]:
        """Steps opened here that wait for an event, which may have come before them."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.LISTENING)

    @property
    def emitting(self) -> tuple[str, ...]:
        """Steps opened here whose event is to be sent."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.EMITTING)

    @property
    def calling(self) -> tuple[str, ...]:
        """Steps opened here that wait for a child, which is to be started."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.CALLING)

    @property
    def joined(self) -> tuple[str, ...]:
        """Parallel steps opened here whose branches all ended at once."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.JOINED)
