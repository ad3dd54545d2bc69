"""What executions and projects used, and budgets that people change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from orch.budget import Budget
from orch.control.user import said
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.workflows.budget import EVERYBODY
from orch.workflows.usage import Usage

MOST_DAYS = 90


class UsageInfo(BaseModel):
    """What was used. ``cost``: in the currency of all prices; those of models are in USD."""

    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    calls: int = 0
    model: str = Field("", description="the last one that was asked")

    @classmethod
    def of(cls, used: Usage) -> UsageInfo:
        return cls(
            tokens=used.tokens,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cost=used.cost,
            calls=used.calls,
            model=used.model,
        )

    def __str__(self) -> str:
        return str(Usage(self.input_tokens, self.output_tokens, self.cost, self.calls, self.model))


class ExecutionUsage(BaseModel):
    """What an execution used, and its steps by their paths. Children have their own."""

    execution: str
    total: UsageInfo
    steps: dict[str, UsageInfo] = Field(default_factory=dict)


class DaySpending(BaseModel):
    """What the executions of a project used on a day (UTC), and its budget for one."""

    day: str
    project_id: str
    used: UsageInfo
    budget: dict[str, Any] | None = None


def usage_of(journal: Journal, execution: str) -> ExecutionUsage:
    """Raises NotFound."""
    record = journal.record(execution)
    steps = {path: UsageInfo.of(used) for path, used in record.usage.items()}
    return ExecutionUsage(execution=execution, total=UsageInfo.of(record.used), steps=steps)


def spending(journal: Journal, project: str | None, days: int) -> list[DaySpending]:
    """Of the last ``days``, today included, the newest first. Raises InputError."""
    if not 1 <= days <= MOST_DAYS:
        raise InputError(f"{days} days are asked for; sums are kept for {MOST_DAYS}")
    budgets = journal.settings.budgets
    found = []
    for day, sums in journal.spent(days, project).items():
        for name in sorted(sums):
            budget = budgets.get(name) or budgets.get(EVERYBODY)
            shown = budget.model_dump(by_alias=True, exclude_none=True) if budget else None
            found.append(
                DaySpending(day=day, project_id=name, used=UsageInfo.of(sums[name]), budget=shown)
            )
    return found


def set_budget(
    journal: Journal,
    execution: str,
    path: str | None = None,
    *,
    cost: float | None = None,
    tokens: int | None = None,
    by: str | None = None,
    reason: str = "",
) -> None:
    """See `Orchestrator.set_budget`."""
    given = {k: v for k, v in {"cost": cost, "tokens": tokens}.items() if v is not None}
    try:
        Budget.model_validate(given)
    except ValidationError as exc:
        wrong = exc.errors()[0]
        raise InputError(
            f"this is no budget: {wrong['msg'].removeprefix('Value error, ')}",
            hint="give a cost or a number of tokens, 0 or more",
        ) from None
    if path and journal.read_state(execution, path) is None:
        journal.record(execution)
        raise NotFound(
            f"execution {execution} has no step {path!r}, or has not come to it",
            hint=f"`orch status {execution}` shows its steps",
        )
    if not journal.set_budget(execution, path or "", given, {**given, **said(by, reason)}):
        journal.record(execution)
