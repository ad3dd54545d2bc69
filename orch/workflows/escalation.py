"""An escalation: a failure that nobody has dealt with yet, and what has been done about it.

There is one for a step at a time, as JSON in the field `g:path` of the record. While it is open
its step is `escalated`: it holds no worker, and waits in the watch for the end of its rung.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from orch.workflows.state import StepState, StepStatus, encode

INBOX_MARK = "!"
"""Begins what a token waits for, where that is a person; the queue of the inbox follows."""

RECHECK = 24 * 3600 * 1000
"""Ms after which an escalation without a deadline is looked at."""

MOST_COMMENTS = 100
COMMENT_LIMIT = 2000

Word = Literal[
    "claim",
    "release",
    "delegate",
    "comment",
    "retry",
    "skip",
    "reroute",
    "compensate",
    "abort",
    "answer",
]
"""What a person may do; the last six are decisions."""

ENDINGS = ("compensate", "abort")
"""Decisions with which the execution ends."""

DECISIONS = ("retry", "skip", "reroute", *ENDINGS, "answer")


def waits_in(queue: str) -> str:
    """What is written in the index of tokens that wait, of an inbox's queue."""
    return f"{INBOX_MARK}{queue}"


def escalation_field(path: str) -> str:
    """Field of the record with the escalation of a step."""
    return f"g:{path}"


def escalation_id(execution: str, path: str) -> str:
    return f"{execution}:{path}"


@dataclass(frozen=True)
class Escalation:
    """Instants are ms since the epoch, 0: not yet. ``seq`` counts its changes: the fence.

    ``asked``: of an approval, which is asked for and has not failed: the prompt and the rest of
    the step's input. ``was``: attempt, failures, lost and started of the step. ``work``: the path
    of what is being done for it. ``given``: the input that a person has edited, in a list.
    """

    raised: int
    error: Mapping[str, Any] | None = None
    asked: Mapping[str, Any] | None = None
    was: tuple[int, int, int, int] = (1, 0, 0, 0)
    ladder: str = ""
    rung: int = 0
    kind: str = ""
    queue: str = ""
    since: int = 0
    until: int = 0
    seq: int = 0
    work: str = ""
    works: int = 0
    given: tuple[Any, ...] = ()
    agents: tuple[str, ...] = ()
    remind: int = 0
    reminders: int = 0
    holder: str = ""
    held_until: int = 0
    acknowledged: int = 0
    comments: tuple[Mapping[str, Any], ...] = ()
    decision: str = ""
    by: str = ""
    note: str = ""
    resolved: int = 0

    def dumps(self) -> str:
        """JSON of the fields that say something."""
        found = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "raised" or value != each.default:
                found[each.name] = value
        return encode(found)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Escalation:
        listed = {name: tuple(found[name]) for name in _LISTED if name in found}
        return cls(**{**found, **listed})

    @classmethod
    def loads(cls, text: str) -> Escalation:
        return cls.of(json.loads(text))

    @property
    def open(self) -> bool:
        return not self.resolved

    @property
    def ends(self) -> bool:
        """Whether somebody decided that the execution ends with it, which is still to be done."""
        return self.open and self.decision in ENDINGS

    def ended(self, at: int) -> Escalation:
        """As it is to be seen when its branch, or its execution, has ended with it."""
        done = self.decision or "cancelled"
        return replace(self, resolved=at, decision=done, queue="", work="")

    def held(self, now: int) -> str:
        """Who has claimed it, and still holds it; else nobody, ''."""
        return self.holder if now < self.held_until else ""

    def state(self, now: int) -> StepState:
        """The state of its step, while it is open."""
        attempt, failures, lost, started = self.was
        return StepState(
            StepStatus.ESCALATED,
            attempt,
            failures,
            lost,
            since=now,
            owner=str(self.seq),
            started=started,
        )

    def base(self, now: int) -> StepState:
        """As `state`, held by nobody: for the end of the step."""
        return replace(self.state(now), owner="")

    def due(self, now: int) -> int:
        """When it must be looked at."""
        return min((each for each in (self.until, self.remind) if each), default=now + RECHECK)

    def changed(self, **fields: Any) -> Escalation:
        return replace(self, seq=self.seq + 1, **fields)


_LISTED = ("was", "given", "agents", "comments")


@dataclass(frozen=True)
class Ruling:
    """What a person does about an escalation. ``at`` and ``until``: ms.

    ``value``: the output of a skip, the answer, the edited input of a retry; ``given``: whether
    there is one. ``target``: a step or capability, or to whom it is delegated.
    """

    word: Word
    by: str
    at: int
    value: Any = None
    given: bool = False
    target: str = ""
    note: str = ""
    until: int = 0
