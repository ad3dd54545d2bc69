"""What the steps of a document mean, checked on its outline: one module for each kind of check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orch.workflows.validation.review.agents import check_agents, check_versions
from orch.workflows.validation.review.approvals import check_approvals
from orch.workflows.validation.review.declared import check_schemas
from orch.workflows.validation.review.flow import check_cycles, check_reachability
from orch.workflows.validation.review.idempotence import check_idempotence
from orch.workflows.validation.review.ladders import check_ladders
from orch.workflows.validation.review.limits import check_limits
from orch.workflows.validation.review.messages import check_messages
from orch.workflows.validation.review.models import check_budgets, check_models
from orch.workflows.validation.review.outside import check_outside
from orch.workflows.validation.review.parallel import check_parallel
from orch.workflows.validation.review.reads import check_expressions
from orch.workflows.validation.review.resolving import check_resolving
from orch.workflows.validation.review.starts import check_starts
from orch.workflows.validation.review.steps import (
    check_handlers,
    check_ids,
    check_names,
    check_shapes,
    check_targets,
)
from orch.workflows.validation.review.subject import Known, Review
from orch.workflows.validation.review.times import (
    check_heartbeats,
    check_retries,
    check_timeouts,
    check_waits,
)
from orch.workflows.validation.review.tracing import check_output_mappings, trace_variables
from orch.workflows.validation.review.triggers import check_triggers

__all__ = ["Review", "review"]

_CHECKS: tuple[Callable[[Review], None], ...] = (
    check_shapes,
    check_ids,
    check_targets,
    check_handlers,
    check_reachability,
    check_cycles,
    check_schemas,
    check_starts,
    check_output_mappings,
    trace_variables,
    check_expressions,
    check_triggers,
    check_parallel,
    check_resolving,
    check_waits,
    check_timeouts,
    check_heartbeats,
    check_retries,
    check_idempotence,
    check_outside,
    check_agents,
    check_versions,
    check_names,
    check_limits,
    check_ladders,
    check_approvals,
    check_models,
    check_budgets,
    check_messages,
)


def review(document: Mapping[str, Any], known: Known) -> Review:
    """Run all checks, each of which may build on those before it."""
    subject = Review(document, known)
    for check in _CHECKS:
        check(subject)
    return subject
