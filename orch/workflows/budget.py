"""Budgets: what a step, an execution or a project may use, and what comes of using more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.budget import Budget
from orch.errors import ErrorClass, StepError
from orch.workflows.state import encode
from orch.workflows.usage import Usage

EXCEEDED = "BudgetExceeded"
"""The error of a step that may use no more."""

ESCALATION_PATH = "budget"
"""The path of escalation that such an error takes with `onExceeded: escalate`."""

BUDGETS_FIELD = "budgets"
"""Field of the record: budgets that people gave while it ran, {path | '': {cost, tokens}}."""

EVERYBODY = "*"
"""In the setting `budgets`: every project that is not named."""


@dataclass(frozen=True)
class Limit:
    """A budget that holds for an attempt, and what others have used of it. ``whose``: in words;
    ``kind``: `step`, `execution` or `project`."""

    kind: str
    whose: str
    budget: Budget
    used: Usage

    def refusal(self, own: Usage, *, begins: bool = False) -> StepError | None:
        """The error of an attempt that used ``own`` itself, if that is too much."""
        used = self.used + own
        found = self.budget.exceeded_by(used.cost, used.tokens, begins=begins)
        if not found:
            return None
        asks = self.budget.on_exceeded == "escalate"
        return StepError(
            EXCEEDED,
            f"the budget of {self.whose} is used up: {found}"
            + (" before the step begins" if begins else ""),
            data={
                "budget": self.kind,
                "used": {"cost": used.cost, "tokens": used.tokens},
                "limit": {"cost": self.budget.cost, "tokens": self.budget.tokens},
            },
            hint="`orch budget EXECUTION --cost …` raises it",
            escalation=ESCALATION_PATH if asks else "",
            error_class=ErrorClass.PERMANENT,
        )


def raised(budget: Budget | None, given: Mapping[str, Any] | None) -> Budget | None:
    """A budget as people have changed it while its execution ran."""
    if given is None:
        return budget
    return Budget.model_validate({**(budget.model_dump() if budget is not None else {}), **given})


def load_budgets(text: str | None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(text or "{}")
    return found


def dump_budgets(found: Mapping[str, Mapping[str, Any]]) -> str:
    return encode(found)
