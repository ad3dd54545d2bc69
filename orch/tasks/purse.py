"""What an attempt may use: the budgets of its step, its execution and its project."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from orch.budget import Budget
from orch.errors import StepError
from orch.journal.journal import Journal
from orch.workflows.budget import EVERYBODY, Limit, raised
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.rungs import subject_of
from orch.workflows.usage import Usage

BELIEVED = 2.0
"""Seconds for which a process believes what a project has used on a day: to ask is a command for
each partition."""

_spent: dict[tuple[str, str], tuple[float, Usage]] = {}


class Purse:
    """Of one attempt. Reads nothing before it is asked for."""

    def __init__(self, journal: Journal, plan: Plan, node: Node, execution: str, path: str) -> None:
        self._journal = journal
        self._own = node.step.budget
        self._whole = plan.definition.budget
        self._name = node.id
        self._execution = execution
        self._path = subject_of(path)
        self._limits: list[Limit] | None = None
        self._project = ""

    @classmethod
    def of(
        cls, journal: Journal, plan: Plan, node: Node, execution: str, path: str
    ) -> Purse | None:
        """None: nothing bounds what the step may use."""
        if node.step.budget or plan.definition.budget or journal.settings.budgets:
            return cls(journal, plan, node, execution, path)
        return None

    @property
    def is_of_step(self) -> bool:
        """Whether the step has a budget of its own."""
        return self._own is not None

    def refusal(self, own: Usage, *, begins: bool = False) -> StepError | None:
        """The error of an attempt that has used ``own``, if that is too much. Raises Unreachable.

        ``begins``: of one that begins, which must find something left.
        """
        if self._limits is None:
            self._limits = self._read()
        found = (limit.refusal(own, begins=begins) for limit in self._limits)
        return next((each for each in found if each is not None), None)

    def left(self, own: Usage) -> tuple[float | None, int | None]:
        """Cost and tokens that an attempt which has used ``own`` may use yet; None: any."""
        if self._limits is None:
            self._limits = self._read()
        costs, tokens = [], []
        for limit in self._limits:
            used = limit.used + own
            if limit.budget.cost is not None:
                costs.append(max(0.0, limit.budget.cost - used.cost))
            if limit.budget.tokens is not None:
                tokens.append(max(0, limit.budget.tokens - used.tokens))
        return min(costs, default=None), min(tokens, default=None)

    def learn(self, step: Usage, execution: Usage, own: Usage, more: Usage) -> None:
        """What all attempts of the step, and the execution, have used, ``own`` included, and
        ``more`` than was known before."""
        if (known := _spent.get((self._journal.url, self._project))) is not None:
            _spent[self._journal.url, self._project] = known[0], known[1] + more
        used = {"step": step - own, "execution": execution - own}
        self._limits = [
            replace(each, used=used.get(each.kind, each.used)) for each in self._limits or ()
        ]

    def _read(self) -> list[Limit]:
        found = self._journal.read_spending(self._execution, self._path)
        given = found.budgets
        limits = [
            ("step", f"step {self._name!r}", raised(self._own, given.get(self._path)), found.step),
            (
                "execution",
                f"execution {self._execution}",
                raised(self._whole, given.get("")),
                found.execution,
            ),
        ]
        project = self._project = found.project or self._journal.settings.project_id
        daily = budget_of(project, self._journal.settings.budgets)
        if daily is not None:
            used = spent_today(self._journal, project)
            limits.append(("project", f"project {project!r} for today", daily, used))
        return [Limit(kind, whose, b, used) for kind, whose, b, used in limits if b is not None]


def budget_of(project: str, budgets: Mapping[str, Budget]) -> Budget | None:
    return budgets.get(project) or budgets.get(EVERYBODY)


def spent_today(journal: Journal, project: str) -> Usage:
    """As this process knows it; not older than two seconds."""
    key, now = (journal.url, project), time.monotonic()
    at, found = _spent.get(key, (float("-inf"), Usage()))
    if now - at > BELIEVED:
        found = journal.spent_today(project)
        _spent[key] = now, found
    return found
