"""Which steps of a failed execution are tried again, and which of its records then go.

What ended well is kept. From the step whose failure ended the execution it goes down into the
branches that did not end well: the step that failed in each, and the one that was cancelled
because another branch had failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orch.errors import NotAllowed
from orch.workflows.definition import StepType
from orch.workflows.plan import ROOT, SCHEDULE_TIMEOUT, Plan, in_handler, join_path, split
from orch.workflows.state import StepState, StepStatus


@dataclass
class Reopening:
    """``tokens``: each step that lives again, and as what; ``attempts``: the next of each
    that has some: a task, a poll, a call.

    ``drops``: names of failures that no longer hold.
    """

    tokens: dict[str, StepStatus] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    drops: list[str] = field(default_factory=list)


def reopen(
    plan: Plan, execution: str, fields: Mapping[str, str], error: Mapping[str, Any] | None
) -> Reopening:
    """What a retry changes. ``fields``: those of the steps' hash; ``error``: the execution's.

    Raises NotAllowed, with the reason, where going on would not be exact.
    """
    return _Reopener(plan, execution, fields).run(error or {})


class _Reopener:
    def __init__(self, plan: Plan, execution: str, fields: Mapping[str, str]) -> None:
        self.plan = plan
        self.execution = execution
        self.fields = fields
        self.found = Reopening()
        self.scopes: dict[str, dict[str, StepState]] = {}
        for path, text in fields.items():
            if path[0] not in "=!?":
                self.scopes.setdefault(split(path)[0], {})[path] = StepState.loads(text)

    def run(self, error: Mapping[str, Any]) -> Reopening:
        if any(in_handler(path) for scope in self.scopes.values() for path in scope):
            raise self._refused("its error handler has been run, and would be run again")
        path = self._failed_in(ROOT, error)
        if path is None:
            raise self._refused(
                f"none of its steps failed, but the whole: {error.get('name')}: "
                f"{error.get('message')}"
            )
        self._reopen(path)
        return self.found

    def _failed_in(self, scope: str, failure: Mapping[str, Any]) -> str | None:
        """The step of a scope that failed in this way, the latest of them."""
        failed = [
            (state.since, path)
            for path, state in self.scopes.get(scope, {}).items()
            if state.status is StepStatus.FAILED
            and json.loads(self.fields.get(f"!{path}", "null")) == failure
        ]
        return max(failed)[1] if failed else None

    def _reopen(self, path: str) -> None:
        state = self.scopes[split(path)[0]][path]
        node = self.plan.node(path)
        if state.status is StepStatus.CANCELLED and not state.started and not node.plain:
            self.found.tokens[path] = StepStatus.ENTERING  # its turn had come, and no more
            return
        if node.type is StepType.PARALLEL:
            self._reopen_parallel(path, state)
            return
        plain = not node.branches and node.type is not StepType.EVENT
        untaken = self._failure_name(path) == SCHEDULE_TIMEOUT
        if plain and state.status is StepStatus.FAILED and not state.started and not untaken:
            raise self._refused(
                f"step {path!r} failed before it was tried: an expression or a decision of it "
                f"would fail again"
            )
        if node.external:
            self.found.tokens[path] = StepStatus.EXTERNAL
            self.found.attempts[path] = state.attempt + 1
        elif node.is_work or node.type is StepType.SUBWORKFLOW:
            called = node.type is StepType.SUBWORKFLOW
            self.found.tokens[path] = StepStatus.CALLING if called else StepStatus.DISPATCHED
            self.found.attempts[path] = state.attempt + 1
        elif node.type is StepType.WAIT and state.due and state.status is StepStatus.CANCELLED:
            self.found.tokens[path] = StepStatus.WAITING
        else:
            raise self._refused(f"step {path!r} is a {node.type.value}, which is not tried again")
        self.found.drops.append(f"!{path}")

    def _failure_name(self, path: str) -> str:
        return str(json.loads(self.fields.get(f"!{path}", "{}")).get("name", ""))

    def _reopen_parallel(self, path: str, state: StepState) -> None:
        branches = [join_path(path, str(number)) for number in range(state.total)]
        succeeded = [branch for branch in branches if f"={branch}" in self.fields]
        failed = [branch for branch in branches if f"!{branch}" in self.fields]
        left = state.total - len(succeeded) - len(failed)
        # Failures that a step tolerates stay, as long as it is not they that ended it.
        lost = 0 <= state.tolerated < len(failed) or len(succeeded) + left < state.need
        again = failed if lost or state.status is StepStatus.FAILED else []
        if state.opened:
            # They begin at once, beside those that were cancelled: as many as there are lanes. The
            # failure that ended the step left one free, and without it the others are tolerated.
            room = self._lanes(path) - (state.opened - len(succeeded) - len(failed))
            again = self._latest(again, room)
        kept = len(failed) - len(again)
        self.found.tokens[path] = StepStatus.JOINING
        self.found.drops += [f"!{path}", *(f"!{branch}" for branch in again)]
        if replace(state, left=left + len(again), failed=kept).decided:
            if state.status is StepStatus.FAILED:
                raise self._refused(f"the branches of step {path!r} ended well, it failed after")
            return  # it is joined again; the branches that are left have lost
        for branch in branches[: state.opened or state.total]:
            if branch in again:
                failure = json.loads(self.fields[f"!{branch}"])
                self._reopen_head(branch, self._failed_in(branch, failure))
            elif branch not in succeeded and branch not in failed:
                self._reopen_head(branch, self._cancelled_in(branch))

    def _lanes(self, path: str) -> int:
        policy = self.plan.node(path).policy
        return policy.lanes if policy is not None else 0

    def _latest(self, branches: list[str], count: int) -> list[str]:
        """Those among branches that failed last."""

        def failed_at(branch: str) -> int:
            return max((state.since for state in self.scopes.get(branch, {}).values()), default=0)

        return sorted(branches, key=failed_at, reverse=True)[: max(count, 0)]

    def _cancelled_in(self, branch: str) -> str | None:
        """Where a branch stood when it was cancelled: it is one thread, so at one step."""
        steps = self.scopes.get(branch, {}).items()
        found = [path for path, state in steps if state.status is StepStatus.CANCELLED]
        return found[0] if len(found) == 1 else None

    def _reopen_head(self, branch: str, path: str | None) -> None:
        if path is None:
            raise self._refused(f"branch {branch!r} ended between two of its steps")
        self._reopen(path)

    def _refused(self, reason: str) -> NotAllowed:
        return NotAllowed(
            f"execution {self.execution} cannot be retried: {reason}",
            hint="start it anew with the same input",
        )
