"""Which output counts, where the branches of a parallel step may contradict one another.

A vote that is decided early is counted in the journal: each branch that ends well casts a ballot,
a short hash of what it says, and the step's state holds how many there are of each. What wins is
said here, from the outputs; since a majority is more than half, both come to the same, in
whatever order the branches end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.errors import StepError
from orch.workflows.definition import (
    Branch,
    ParallelExecution,
    Resolution,
    ResolvePolicy,
    StepType,
    WorkflowStep,
)
from orch.workflows.expressions import Expression, parse_expression
from orch.workflows.state import encode

CONFLICT = "Conflict"
"""The error of a step whose branches contradict one another."""

SHOWN = 200
"""Characters of a value that was voted for, in the history and the status."""

MARK = "w:"
EXACT = 1 << 53
"""Below it, a number without a fraction is the same as an integer and as a float."""

_ANY = "*"


@dataclass(frozen=True)
class Verdict:
    """``winner``: number of the branch whose output counts; None: nobody's does. ``votes``: what
    was said, as canonical JSON, and by which branches; the one with the most first. ``mute``:
    branches that succeeded and whose vote is none, since `by` found nothing there."""

    winner: int | None
    votes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    mute: tuple[int, ...] = ()

    @property
    def dissenters(self) -> tuple[int, ...]:
        """Branches that said something else than the winner."""
        return tuple(n for _, by in self.votes if self.winner not in by for n in by)

    @property
    def contradicts(self) -> bool:
        """Whether nobody wins because of what was said, not because too few said something."""
        return self.winner is None and (len(self.votes) > 1 or bool(self.mute))


@dataclass(frozen=True)
class Resolver:
    """The compiled `resolve` of a parallel step. ``need``: branches that must say the same, or
    that must succeed; 0: all must end."""

    policy: ResolvePolicy
    need: int = 0
    by: Expression | None = None

    @classmethod
    def of(cls, parallel: ParallelExecution) -> Resolver | None:
        asked = parallel.resolution
        if asked is None:
            return None
        need = {"first": 1, "vote": asked.need or majority(len(parallel.branches))}
        by = parse_expression(asked.by) if asked.by else None
        return cls(asked.policy, need.get(asked.policy, 0), by)

    @property
    def decides(self) -> bool:
        """Whether it says itself, in place of `join`, when the step is decided."""
        return self.policy in ("first", "priority", "vote")

    @property
    def tallies(self) -> bool:
        """Whether the ends of branches are counted by what they say, or in their order."""
        return self.policy in ("vote", "latest")

    @property
    def compares(self) -> bool:
        return self.policy in ("vote", "human")

    def ballot(self, output: Any) -> str:
        """For what a branch that ends with this output is counted; '': for nothing."""
        if not self.tallies:
            return ""
        if self.policy == "latest":
            return _ANY
        said = self.said(output)
        return "" if said is None else hashlib.sha256(said.encode()).hexdigest()[:16]

    def said(self, output: Any) -> str | None:
        """What is compared of an output, as canonical JSON; None: it says nothing."""
        if self.by is None:
            return canonical(output)
        try:
            value = self.by.evaluate({"output": output})
        except StepError:
            return None
        return None if value is None else canonical(value)

    def judge(self, outputs: Mapping[int, Any], last: int) -> Verdict:
        """Whose output counts. ``outputs``: of the branches that succeeded, by their numbers;
        ``last``: the one of them that ended last."""
        if not outputs:
            return Verdict(None)
        if not self.compares:
            latest = self.policy == "latest" and last in outputs
            return Verdict(last if latest else min(outputs))
        groups: dict[str, list[int]] = {}
        mute = []
        for number, output in sorted(outputs.items()):
            said = self.said(output)
            if said is None:
                mute.append(number)
            else:
                groups.setdefault(said, []).append(number)
        votes = sorted(groups.items(), key=lambda group: -len(group[1]))
        if self.policy == "vote":
            wins = bool(votes) and len(votes[0][1]) >= self.need
        else:
            wins = len(votes) == 1 and not mute
        winner = votes[0][1][0] if wins else None
        return Verdict(winner, tuple((said, tuple(by)) for said, by in votes), tuple(mute))

    def tell(self, verdict: Verdict, paths: Sequence[str]) -> dict[str, Any]:
        """Who said what, for people: `policy`, `winner`, and where outputs are compared `votes`
        (`value`, `by`), `dissenters` and `mute`, all by ``paths``, those of the branches."""
        told: dict[str, Any] = {"policy": self.policy}
        if self.policy == "vote":
            told["need"] = self.need
        told["winner"] = None if verdict.winner is None else paths[verdict.winner]
        if self.compares:
            told["votes"] = [
                {"value": _shown(said), "by": [paths[n] for n in by]} for said, by in verdict.votes
            ]
            if verdict.winner is not None:
                told["dissenters"] = [paths[n] for n in verdict.dissenters]
            if verdict.mute:
                told["mute"] = [paths[n] for n in verdict.mute]
        return told


def majority(total: int) -> int:
    """The least that is more than half."""
    return total // 2 + 1


def canonical(value: Any) -> str:
    """The same text for equal JSON values: keys sorted, `1.0` written as `1`."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def resolution_field(path: str) -> str:
    """The field of the record that says who said what in the branches of a step."""
    return f"{MARK}{path}"


def resolution_fields(path: str, told: Mapping[str, Any]) -> dict[str, str]:
    return {resolution_field(path): encode(told)}


def load_resolutions(fields: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Path of a step -> who said what in its branches, from the fields of a record."""
    return {
        name.removeprefix(MARK): json.loads(text)
        for name, text in sorted(fields.items())
        if name.startswith(MARK)
    }


def voted(step: WorkflowStep) -> WorkflowStep:
    """A task with `vote` as the parallel step that it stands for; any other as it is.

    Each branch is the task, under the same id. What is the business of one attempt (`retry`,
    `timeout`, `fallback`, `compensate`, `outputSchema`) stays with the branches, what follows
    (`output`, `next`, `onError`, `escalation`) with the step around them.
    """
    vote = step.vote
    if vote is None or step.type is not StepType.TASK:
        return step
    around = ("name", "description", "output", "condition", "next", "on_error", "vote")
    voter = step.model_copy(update={**dict.fromkeys(around), "escalation": []})
    of_attempts = ("retry", "timeout", "schedule_timeout", "heartbeat_timeout", "handoff")
    within = ("capability", "task", "queue", "fallback", "compensate", *of_attempts)
    resolution = Resolution(policy="vote", need=vote.need, by=vote.by)
    parallel = ParallelExecution(
        branches=[Branch(steps=[voter]) for _ in range(vote.of)], resolve=resolution
    )
    own = {"type": StepType.PARALLEL, "external": False, "delivery": "at_least_once"}
    return step.model_copy(update={**dict.fromkeys(within), **own, "parallel": parallel})


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _shown(said: str) -> Any:
    return json.loads(said) if len(said) <= SHOWN else f"{said[: SHOWN - 1]}…"
