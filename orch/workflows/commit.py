"""What one script commits: a transition, a frozen value, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orch.workflows.entries import pack
from orch.workflows.state import ExecutionStatus, StepState, StepStatus

Page = str | tuple[str, int, int]
"""Items of a map, as JSON; or the results of a map, from the first so many, that they are."""


@dataclass(frozen=True)
class Open:
    """A step state to write. ``due``: when to look at it, ms; None: it is not live."""

    path: str
    state: StepState
    due: int | None = None
    listens: str = ""  # for which event: `subscription` of its name and correlation


@dataclass(frozen=True)
class BranchEnd:
    """``scope``, a branch, an iteration or an item of the step at ``join``, ended, well or not.

    ``waiting``: how those begin that wait for their turn, as (first step, its state): of the
    items of a map one for all, of the branches of a parallel step each its own. ``ballot``: what
    it is counted for in a vote, or '*' where only the order is; '': nothing is counted.
    """

    join: str
    scope: str
    ok: bool
    text: str  # JSON of the output, or of the failure
    waiting: tuple[tuple[str, StepState], ...] = ()
    of_item: bool = False
    ballot: str = ""


@dataclass(frozen=True)
class End:
    """The flow of an execution ends. Where it is to be compensated, the execution lives on."""

    status: ExecutionStatus
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Event:
    """One entry of the history: what happened to which attempt of which path.

    ``at``: when it happened, ms, if that was before it is committed.
    """

    word: str
    path: str = ""
    attempt: int = 0
    detail: Mapping[str, Any] | None = None
    at: int | None = None

    def dumps(self, now: int) -> bytes:
        at = now if self.at is None else self.at
        return pack(at, self.word, self.path, self.attempt, self.detail)


@dataclass(frozen=True)
class Transition:
    """All that one script commits: nothing of it holds without the rest."""

    path: str
    state: StepState | None
    plan: str = ""  # key of the plan by which it was decided: it holds for no other
    due: int | None = None  # of the path itself, if it stays live
    listens: str = ""  # for which event the path itself begins to wait, as in `Open`
    opens: tuple[Open, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()  # fields of the steps' hash: outputs and failures
    fields: tuple[tuple[str, str], ...] = ()  # fields of the record: variables and the like
    drops: tuple[str, ...] = ()  # fields of the record that go
    once: str = ""  # a field of the record that must not be there yet
    branch: BranchEnd | None = None
    end: End | None = None
    events: tuple[Event, ...] = ()
    cancels_below: bool = False  # whether the live tokens in its branches end with it
    pages: tuple[tuple[str, Page], ...] = ()  # items of the maps that are opened
    clears: tuple[str, int] | None = None  # a map, and how many items: nobody needs them any more
    unwinds: bool = False  # of one that unwinds: see whether a compensation is next
    notices: tuple[tuple[str, str], ...] = ()  # what is to be told outside: id -> JSON
    kept: str | None = None
    """JSON of its output, '' where it has none, of a step that may have to be undone: noted also
    where its branch was cancelled while it ran."""
    guard: tuple[str, int, str] | None = None
    """Path, attempt and owner of another token that it ends or moves on: an escalated step."""
    quiet: bool = False  # an item that ended well at once: only its result is kept

    @property
    def goes_on(self) -> bool:
        """Whether a step ends with it and others are opened, and that is all."""
        ended = self.branch is not None or self.end is not None or self.due or self.listens
        more = (self.drops, self.pages, self.clears, self.once, self.cancels_below, self.quiet)
        if ended or self.unwinds or any(more) or self.guard or self.notices:
            return False
        return not any(opened.listens for opened in self.opens)

    @property
    def is_over(self) -> bool:
        """Whether the execution has ended with it."""
        return self.end is not None and self.end.status.ended

    @property
    def is_plain_last(self) -> bool:
        """Whether the execution ends well with its step, and nothing else is opened or dropped."""
        ended = self.end is not None and self.end.status is ExecutionStatus.COMPLETED
        left = (self.opens, self.drops, self.pages, self.clears, self.once, self.guard)
        more = (*left, self.notices, self.branch, self.cancels_below, self.quiet, self.unwinds)
        return ended and not any(more) and not (self.listens or self.due)

    @property
    def is_plain_end(self) -> bool:
        """Whether a branch ends well with it, and nothing else is written or opened."""
        branch = self.branch
        ended = branch is not None and branch.ok and not (branch.of_item or branch.ballot)
        written = (self.opens, self.fields, self.drops, self.pages, self.clears, self.once)
        more = (*written, self.guard, self.notices)
        return ended and not any(more) and not (self.listens or self.due or self.unwinds)

    @property
    def dispatched(self) -> tuple[str, ...]:
        """Paths that need a message now."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.DISPATCHED)

    @cached_property
    def written(self) -> tuple[Open, ...]:
        """The step itself, if it has a state, and those that are opened."""
        own = () if self.state is None else (Open(self.path, self.state, None, self.listens),)
        return (*own, *self.opens)
