"""Which steps of a failed execution are tried again, and which of its records then go.

What ended well is kept. From the step whose failure ended the execution it goes down into the
branches, items and iterations that did not end well: the step that failed in each, and the one
that was cancelled because another had failed. Where only so many run at once, the others wait
for their turn, before those that had never begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from orch.errors import NotAllowed
from orch.workflows.compensating import compensated_path, in_compensation
from orch.workflows.definition import StepType
from orch.workflows.external import waits_for
from orch.workflows.node import SCHEDULE_TIMEOUT, Node
from orch.workflows.paths import ROOT, in_handler, iteration_path, join_of, split
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.transition import scopes_to_join

BRANCHES, ITEMS, ITERATION = "/", "[", "@"


@dataclass(frozen=True)
class Token:
    """A step that lives again. ``limit``: ms within which a worker must take it; 0: whenever.

    ``listens``: what an external task waits for. Of a step that is joined, ``mark`` says what it
    holds, and ``number`` which iteration of a loop goes on, or else 1 + the first of the
    ``waiting`` members that are tried again in their turn.
    """

    path: str
    status: StepStatus
    limit: int = 0
    listens: str = ""
    mark: str = ""
    number: int = 0
    waiting: int = 0

    def as_list(self) -> list[Any]:
        rest = [self.mark, self.number, self.waiting] if self.mark else []
        return [self.path, self.status.value, self.limit, self.listens, *rest]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Token:
        return cls(values[0], StepStatus(values[1]), *values[2:])

    @property
    def tried(self) -> bool:
        """Whether it begins another attempt: a task, a poll, a call."""
        return self.status in (StepStatus.DISPATCHED, StepStatus.EXTERNAL, StepStatus.CALLING)


@dataclass
class Turn:
    """What is done at once: tokens by their path, and names of failures that no longer hold.

    ``next``: 1 + the number of the one whose turn is after this one; 0: it is the last.
    """

    tokens: dict[str, Token] = field(default_factory=dict)
    drops: list[str] = field(default_factory=list)
    next: int = 0

    def dumps(self) -> str:
        return encode([self.next, [t.as_list() for t in self.tokens.values()], self.drops])

    @classmethod
    def loads(cls, text: str) -> Turn:
        following, tokens, drops = json.loads(text)
        found = [Token.of(values) for values in tokens]
        return cls({token.path: token for token in found}, drops, following)


@dataclass
class Reopening(Turn):
    """``attempts``: the next of each step that has some; ``turns``: `@scope` of each branch or
    item that waits -> what its turn does."""

    attempts: dict[str, int] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)

    @property
    def sent(self) -> tuple[str, ...]:
        """Paths that need a message now."""
        return tuple(p for p, t in self.tokens.items() if t.status is StepStatus.DISPATCHED)

    @property
    def paths(self) -> list[str]:
        """All that live again, at once or in their turn."""
        return [path for turn in (self, *self.turns.values()) for path in turn.tokens]


def reopen(
    plan: Plan,
    execution: str,
    fields: Mapping[str, str],
    error: Mapping[str, Any] | None,
    ends: Mapping[str, str] | None = None,
) -> Reopening:
    """What a retry changes. ``fields``: those of the steps' hash; ``error``: the execution's;
    ``ends``: how items of maps ended, as `Records.read_ends` gives it.

    Raises NotAllowed, with the reason, where going on would not be exact.
    """
    return _Reopener(plan, execution, fields, ends or {}).run(error or {})


class _Reopener:
    def __init__(
        self, plan: Plan, execution: str, fields: Mapping[str, str], ends: Mapping[str, str]
    ) -> None:
        self.plan = plan
        self.execution = execution
        self.fields = fields
        self.ends = ends
        self.found = Reopening()
        self.turn: Turn = self.found  # what is being collected
        self.scopes: dict[str, dict[str, StepState]] = {}
        for path, text in fields.items():
            # A step that failed behind a ladder begins anew, and not what a rung did for it.
            if path[0] not in "=!?" and not in_rung(path):
                self.scopes.setdefault(split(path)[0], {})[path] = StepState.loads(text)

    def run(self, error: Mapping[str, Any]) -> Reopening:
        if any(in_handler(path) for scope in self.scopes.values() for path in scope):
            raise self._refused("its error handler has been run, and would be run again")
        undone = sorted(path for scope in self.scopes.values() for path in scope)
        undone = [compensated_path(path) for path in undone if in_compensation(path)]
        if undone:
            raise self._refused(
                f"what {', '.join(undone)} did was undone when it failed",
                f"`orch rerun {self.execution}` does all of it anew",
            )
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
            if state.status is StepStatus.FAILED and self._is(scope, path, failure)
        ]
        return max(failed)[1] if failed else None

    def _is(self, scope: str, path: str, failure: Mapping[str, Any]) -> bool:
        own = json.loads(self.fields.get(f"!{path}", "null"))
        if own is None or own == failure:
            return own is not None
        item_of = self.plan.scope(scope).item_of
        named = item_of is not None and item_of.name is not None and "item" in failure
        return named and {**own, "item": failure["item"]} == failure

    def _reopen(self, path: str) -> None:
        state = self.scopes[split(path)[0]][path]
        node = self.plan.node(path)
        if state.status is StepStatus.CANCELLED and not state.started and not node.plain:
            self._add(Token(path, StepStatus.ENTERING))  # its turn had come, and no more
            return
        if state.started and node.loop is not None:
            self._reopen_loop(path, state)
            return
        if state.started and node.branches:
            self._reopen_members(path, node, state)
            return
        if node.is_approval:
            self._add(Token(path, StepStatus.ENTERING))  # it is asked for anew
            self.turn.drops.append(f"!{path}")
            return
        untaken = self._failure_name(path) == SCHEDULE_TIMEOUT
        tried = state.started or untaken or node.type is StepType.EVENT
        if state.status is StepStatus.FAILED and not tried:
            raise self._refused(
                f"step {path!r} failed before it was tried: an expression or a decision of it "
                f"would fail again"
            )
        if node.external:
            self._add(Token(path, StepStatus.EXTERNAL, listens=waits_for(node.capability)))
        elif node.type is StepType.SUBWORKFLOW:
            self._add(Token(path, StepStatus.CALLING))
        elif node.is_work:
            self._add(Token(path, StepStatus.DISPATCHED, node.schedule_limit(0)))
        elif node.type is StepType.WAIT and state.due and state.status is StepStatus.CANCELLED:
            self._add(Token(path, StepStatus.WAITING))
        else:
            kind = node.type.value
            raise self._refused(f"step {path!r} is of type {kind}, which is not tried again")
        self.turn.drops.append(f"!{path}")

    def _add(self, token: Token) -> None:
        self.turn.tokens[token.path] = token
        if token.tried:
            state = self.scopes[split(token.path)[0]][token.path]
            self.found.attempts[token.path] = state.attempt + 1

    def _failure_name(self, path: str) -> str:
        return str(json.loads(self.fields.get(f"!{path}", "{}")).get("name", ""))

    # --- steps that hold others ----------------------------------------------------------------

    @cached_property
    def iterations(self) -> dict[str, int]:
        """Path of a loop -> the iteration that it is at."""
        found: dict[str, int] = {}
        for path, number in filter(None, map(join_of, self.scopes)):
            found[path] = max(found.get(path, 0), number)
        return found

    def _reopen_loop(self, path: str, state: StepState) -> None:
        number = self.iterations[path]
        scope = iteration_path(path, number)
        self._add(Token(path, StepStatus.JOINING, mark=ITERATION, number=number))
        self.turn.drops += [f"!{path}", f"!{scope}"]
        if f"={scope}" not in self.fields:
            self._reopen_scope(scope, self.fields)
        elif state.status is StepStatus.FAILED:
            raise self._refused(f"the iterations of step {path!r} ended well, it failed after")

    def _reopen_members(self, path: str, node: Node, state: StepState) -> None:
        """The branches of a parallel step, or the items of a map, that did not end well."""
        ends = self.fields if node.mapped is None else self.ends
        members = scopes_to_join(self.plan, path, state)
        succeeded = sum(f"={scope}" in ends for scope in members)
        failed = [scope for scope in members if f"!{scope}" in ends]
        left = state.total - succeeded - len(failed)
        # Failures that a step tolerates stay, as long as it is not they that ended it.
        lost = 0 <= state.tolerated < len(failed) or succeeded + left < state.need
        again = failed if lost or state.status is StepStatus.FAILED else []
        kept = len(failed) - len(again)
        self.turn.drops += [f"!{path}", *(f"!{scope}" for scope in again)]
        joining = Token(path, StepStatus.JOINING, mark=ITEMS if node.mapped else BRANCHES)
        self._add(joining)
        if replace(state, left=left + len(again), failed=kept).decided:
            if state.status is StepStatus.FAILED:
                what = "items" if node.mapped else "branches"
                if node.policy is not None and node.policy.resolver is not None:
                    raise self._refused(f"the {what} of step {path!r} ended well and do not agree")
                raise self._refused(f"the {what} of step {path!r} ended well, it failed after")
            return  # it is joined again; those that are left have lost
        begun = members[: state.opened or state.total]
        stood = [s for s in begun if f"={s}" not in ends and f"!{s}" not in ends]
        # Those at work when it ended, those that waited to be tried again, those that failed.
        heads = sorted(stood, key=lambda scope: f"@{scope}" in self.ends) + again
        room = _lanes(node) or len(heads)
        for scope in heads[:room]:
            self._reopen_scope(scope, ends)
        waiting = heads[room:]
        if waiting:
            first = _number(waiting[0])
            self._add(replace(joining, number=first, waiting=len(waiting)))
            self._queue(waiting, ends)

    def _queue(self, scopes: Sequence[str], ends: Mapping[str, str]) -> None:
        outer = self.turn
        for scope, following in pairwise([*scopes, ""]):
            self.turn = self.found.turns[f"@{scope}"] = Turn(next=_number(following))
            self._reopen_scope(scope, ends)
        self.turn = outer

    def _reopen_scope(self, scope: str, ends: Mapping[str, str]) -> None:
        """A branch, an iteration or an item, at the step at which it stood."""
        waited = self.ends.get(f"@{scope}")
        if waited is not None:
            turn = Turn.loads(waited)
            for token in turn.tokens.values():
                self._add(token)
            self.turn.drops += [*turn.drops, f"@{scope}"]
            return
        failure = ends.get(f"!{scope}")
        if failure is None:
            path = self._cancelled_in(scope)
        else:
            path = self._failed_in(scope, json.loads(failure))
        if path is None:
            raise self._refused(f"{scope!r} ended between two of its steps")
        self._reopen(path)

    def _cancelled_in(self, scope: str) -> str | None:
        """Where a branch stood when it was cancelled: it is one thread, so at one step."""
        steps = self.scopes.get(scope, {}).items()
        found = [path for path, state in steps if state.status is StepStatus.CANCELLED]
        return found[0] if len(found) == 1 else None

    def _refused(self, reason: str, hint: str = "start it anew with the same input") -> NotAllowed:
        return NotAllowed(f"execution {self.execution} cannot be retried: {reason}", hint=hint)


def _lanes(node: Node) -> int:
    """How many of its members may be at work at once; 0: all."""
    if node.mapped is not None:
        return node.mapped.lanes
    return node.policy.lanes if node.policy is not None else 0


def _number(scope: str) -> int:
    """1 + which member of its step the scope is; 0 of none."""
    up = join_of(scope) if scope else None
    return up[1] + 1 if up is not None else 0
