"""The lifecycles of executions and steps, and how a step's state is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from json.encoder import encode_basestring_ascii
from typing import Any

from orch.workflows.frozen import changed


class StepStatus(StrEnum):
    DISPATCHED = "dispatched"  # a message should be on its way to a worker
    RUNNING = "running"  # a worker holds the attempt
    RETRYING = "retrying"  # the next attempt waits for its back-off
    WAITING = "waiting"  # a timer runs
    ENTERING = "entering"  # the turn of an item of a map has come; any worker enters its steps
    JOINING = "joining"  # a parallel step waits for its branches
    JOINED = "joined"  # all branches ended; what follows is to be decided
    POLLING = "polling"  # the next check of a poll waits for its interval
    LISTENING = "listening"  # it waits for an event
    EMITTING = "emitting"  # its event is on its way to those that wait for it
    CALLING = "calling"  # an execution of another workflow, the child, does it
    EXTERNAL = "external"  # somebody outside does it, and will report what it came to
    ESCALATED = "escalated"  # it has failed, and somebody is asked; or a person does it
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"  # its condition was not true
    CANCELLED = "cancelled"  # its branch was ended by another one, or its execution was


LIVE = frozenset(
    {
        StepStatus.DISPATCHED,
        StepStatus.RUNNING,
        StepStatus.RETRYING,
        StepStatus.WAITING,
        StepStatus.ENTERING,
        StepStatus.JOINING,
        StepStatus.JOINED,
        StepStatus.POLLING,
        StepStatus.LISTENING,
        StepStatus.EMITTING,
        StepStatus.CALLING,
        StepStatus.EXTERNAL,
        StepStatus.ESCALATED,
    }
)


BY_LIMITS = "limits"
"""The owner of a dispatched token that has no message: it waits for its limits."""

_RELATIVE = (frozenset(StepStatus) - LIVE) | {StepStatus.WAITING}


class ExecutionStatus(StrEnum):
    SCHEDULED = "scheduled"  # it begins at an instant that is still to come
    QUEUED = "queued"  # it waits for a slot of a gate
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"  # what runs may end, then what was done is compensated
    COMPENSATING = "compensating"  # the same, of one that will end as failed
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (
            ExecutionStatus.COMPLETED,
            ExecutionStatus.FAILED,
            ExecutionStatus.CANCELLED,
        )

    @property
    def unwinds(self) -> bool:
        """Whether nothing starts any more but compensations, and then it ends."""
        return self in (ExecutionStatus.CANCELLING, ExecutionStatus.COMPENSATING)

    @property
    def begun(self) -> bool:
        """Whether its first step was entered; of a paused one its record must be asked."""
        return self not in (ExecutionStatus.SCHEDULED, ExecutionStatus.QUEUED)


@dataclass(frozen=True)
class StepState:
    """One field of the steps' hash. Instants are ms since the epoch, 0 means: not yet.

    Stored as a JSON array in the order of the fields, so that scripts can change it. Of a step
    that has ended, or waits, `started` is stored as how long before `since`: -1 - ms.
    """

    status: StepStatus
    attempt: int = 1
    failures: int = 0
    lost: int = 0  # attempts whose worker died, since the last that did not
    since: int = 0  # when the token came to its present status
    owner: str = ""
    started: int = 0  # of the current or last attempt
    total: int = 0  # branches of a parallel, items of a map; checks that a poll has made
    left: int = 0  # branches that have not ended
    due: int = 0  # when a timer or a back-off is over; of what is dispatched: `scheduleTimeout`
    need: int = 0  # branches that must succeed; 0: all must end
    tolerated: int = 0  # branches that may fail; -1: any number
    failed: int = 0  # branches that did
    opened: int = 0  # items of a map whose turn has come; branches, where not all run at once
    again: int = 0  # 1 + the number of the next of those that wait to be tried again
    waits: int = 0  # how many of them do
    last: int = 0  # the branch that ended well last, by its number, where they cast ballots
    votes: Mapping[str, int] | None = field(
        default=None, hash=False
    )  # ballot -> branches that cast it

    def ended(self, status: StepStatus, now: int) -> StepState:
        """It has ended. Its history says who had it: the word for that one call is enough."""
        mark = self.owner.rpartition("/")[2].partition("-")[0]
        return changed(self, status=status, since=now, owner=mark)

    def dumps(self) -> str:
        started = self.started
        if self.status in _RELATIVE and 0 < started <= self.since:
            started -= self.since + 1
        first = (
            f'["{self.status}",{self.attempt},{self.failures},{self.lost},{self.since},'
            f"{encode_basestring_ascii(self.owner)},{started}"
        )
        rest = (
            self.total,
            self.left,
            self.due,
            self.need,
            self.tolerated,
            self.failed,
            self.opened,
            self.again,
            self.waits,
            self.last,
        )
        if self.votes is not None:
            first += f",{','.join(map(str, rest))},{encode(self.votes)}"
        elif rest != _NOTHING_MORE:
            last = max(at for at, value in enumerate(rest) if value)
            first += "," + ",".join(map(str, rest[: last + 1]))
        return first + "]"

    @property
    def waits_for_limits(self) -> bool:
        """Whether it is dispatched, and has no message until its limits let it begin."""
        return self.status is StepStatus.DISPATCHED and self.owner == BY_LIMITS

    @property
    def iteration(self) -> int:
        """Of a loop: which one it is at, from 1. Its attempts count them, and its retries."""
        return self.attempt - self.failures

    @property
    def succeeded(self) -> int:
        """Branches that ended well."""
        return self.total - self.left - self.failed

    @property
    def agreeing(self) -> int:
        """Branches that ended well and say the same, where that is counted; all, where not."""
        return self.succeeded if self.votes is None else max(self.votes.values(), default=0)

    def with_ballot(self, ballot: str, number: int) -> StepState:
        """A branch has ended well; ``ballot``: as of `Resolver.ballot`."""
        if self.votes is None or not ballot:
            return self
        votes = {**self.votes, ballot: self.votes.get(ballot, 0) + 1}
        return changed(self, votes=votes, last=number)

    @property
    def decided(self) -> bool:
        """Whether the branches that have ended say how the step ends. As in settle.lua."""
        if self.left == 0 or 0 <= self.tolerated < self.failed:
            return True
        if self.need == 0:
            return False
        return self.agreeing >= self.need or self.agreeing + self.left < self.need

    @classmethod
    def loads(cls, text: str | bytes) -> StepState:
        values = json.loads(text)
        if len(values) > 6 and values[6] < 0:
            values[6] += values[4] + 1
        return cls(StepStatus(values[0]), *values[1:])


_NOTHING_MORE = (0,) * 10
"""What most states have behind `started`."""

_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Made once: `json.dumps` makes an encoder for every call with options."""


def encode(value: Any) -> str:
    """Compact JSON that UTF-8 can carry: lone surrogates, legal in JSON, stay escaped."""
    if value is None:
        return "null"
    text = _ENCODE(value)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
