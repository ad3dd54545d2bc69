"""Reads two executions for a comparison."""

from __future__ import annotations

import json

from orch.control.plans import Plans
from orch.control.status import execution_context
from orch.journal.journal import Journal
from orch.workflows.comparing import Difference, Side, StepSide, compare


def diff(journal: Journal, plans: Plans, a: str, b: str) -> Difference:
    """How execution ``b`` differs from ``a``. Raises NotFound."""
    return compare(_side(journal, plans, a), _side(journal, plans, b))


def _side(journal: Journal, plans: Plans, execution: str) -> Side:
    found = execution_context(journal, plans, execution)
    fields = journal.steps(execution)
    definition = plans.definition(found.version)
    return Side(
        id=execution,
        workflow=found.workflow,
        version=found.version,
        status=found.status,
        input=found.input,
        variables=found.variables,
        output=found.output,
        error=found.error,
        duration_ms=found.metrics.duration,
        definition=json.loads(definition.canonical()),
        steps={
            step.path: StepSide(
                status=step.status,
                attempts=step.attempts,
                duration_ms=step.duration_ms,
                output=json.loads(fields.get(f"={step.path}", "null")),
                error=step.error,
            )
            for step in found.steps
        },
    )
