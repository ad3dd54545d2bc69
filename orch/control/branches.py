"""Pause and resume of one branch: what is no branch, or cannot be paused, gets a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.errors import NotAllowed, NotFound
from orch.journal.branches import RESTS
from orch.journal.journal import Journal, Steered
from orch.workflows.pausing import branches_of, pauses_over
from orch.workflows.state import LIVE, ExecutionStatus, StepState

SHOWN = 20
"""Branches that a sentence names."""


class BranchPauses:
    """``branch``: the path of a branch (``build/0``), an iteration or an item (``resize[17]``), or
    of a step that holds such (``build``): all of them.

    Raises NotFound where no step that lives stands in it; NotAllowed when the execution has ended.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def pause(self, execution: str, branch: str, said: Mapping[str, Any]) -> bool:
        """Let nothing in it start any more; what runs may end. False: it was paused before."""
        steered = self.journal.pause_branch(execution, branch, said)
        if steered is None:
            raise self._no_branch(execution, branch, self._live(execution))
        self._check(execution, steered, "paused")
        return steered.done

    def resume(
        self, execution: str, branch: str, fields: Mapping[str, str], said: Mapping[str, Any]
    ) -> Steered:
        """Let it go on. ``done`` is False: it was not paused. ``fields``: of the record."""
        steered = self.journal.resume_branch(execution, branch, fields, said)
        self._check(execution, steered, "resumed")
        if steered.done:
            return steered
        if around := pauses_over(self.journal.pauses(execution), branch):
            raise NotAllowed(
                f"branch {branch!r} of execution {execution} is not paused itself: "
                f"{around[0]!r} is, and holds it",
                hint=f"`orch resume {execution} --branch {around[0]}`",
            )
        if branch not in (live := self._live(execution)):
            raise self._no_branch(execution, branch, live)
        if fields:
            raise NotAllowed(
                f"branch {branch!r} of execution {execution} is running: only one that is paused "
                f"takes input",
                hint=f"`orch pause {execution} --branch {branch}` first",
            )
        return steered

    def _check(self, execution: str, steered: Steered, done: str) -> None:
        status = steered.status
        if status is None:
            self.journal.record(execution)  # raises, with the sentence
        if status in RESTS:
            return
        what = f"no branch of it can be {done}"
        if status is None:
            found = "is gone"
        elif not status.ended:
            found = f"is {status.value}"
        else:
            been = "been " if status is ExecutionStatus.CANCELLED else ""
            found = f"has {been}{status.value}"
        raise NotAllowed(f"execution {execution} {found}: {what}")

    def _live(self, execution: str) -> list[str]:
        fields = self.journal.steps(execution)
        return branches_of(
            name
            for name, text in fields.items()
            if name[0] not in "=!?" and StepState.loads(text).status in LIVE
        )

    def _no_branch(self, execution: str, branch: str, live: list[str]) -> NotFound:
        more = f", and {len(live) - SHOWN} more" if len(live) > SHOWN else ""
        names = ", ".join(live[:SHOWN]) + more
        return NotFound(
            f"execution {execution} has no branch {branch!r} that lives; "
            + (f"it has: {names}" if live else "it has none at all"),
            hint=f"`orch pause {execution}` without --branch pauses the whole"
            if not live
            else f"`orch status {execution}` shows where its steps stand",
        )
