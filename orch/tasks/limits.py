"""The limits of a step, in the process that is about to begin it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from orch.agents.capability import registry
from orch.control.runtime import Runtime
from orch.errors import StepError
from orch.faults import fault
from orch.journal.journal import Claimed
from orch.journal.limits import HELD, WAITS
from orch.limits import Limit
from orch.settings import Settings
from orch.workflows.compensating import in_compensation
from orch.workflows.limits import (
    Want,
    distinct,
    refused,
    wants_of_capability,
    wants_of_resources,
)
from orch.workflows.node import Node
from orch.workflows.outcome import Failed, Failure, Limited, Outcome
from orch.workflows.view import PROJECT_FIELD, context_of

logger = logging.getLogger(__name__)


def limit_of(name: str, settings: Settings) -> Limit | None:
    """What the settings say of a capability, else what is declared with it."""
    if name in settings.limits:
        return settings.limits[name]
    found: Any = registry().get(name)
    rate = getattr(found, "rate_limit", None)
    concurrency = getattr(found, "concurrency", None)
    if rate is None and concurrency is None:
        return None
    return Limit(rate_limit=rate, concurrency=concurrency)


def is_limited(node: Node, caller: Any) -> bool:
    """Whether a step must reserve something before it begins."""
    return node.is_limited or getattr(caller, "limit", None) is not None


READS = (PROJECT_FIELD,)
"""Fields of the record that such a step needs beside its own."""


class Reservation:
    """What one attempt takes of the limits, and gives back."""

    def __init__(self, runtime: Runtime, node: Node, path: str, claim: Claimed) -> None:
        self.runtime = runtime
        self.node = node
        self.path = path
        self.claim = claim

    def take(self, limit: Limit | None) -> Outcome | None:
        """None: it may begin; else what becomes of the attempt. ``limit``: of its capability."""
        node, path, claim, journal = self.node, self.path, self.claim, self.runtime.journal
        about = Failure("", "", node.id, path, claim.state.attempt)
        try:
            wants = self._wants(limit)
        except StepError as error:
            return Failed(Failure(error.name, error.message, node.id, path, claim.state.attempt))
        if not wants:
            return None
        settings, view = self.runtime.settings, claim.view
        project = view.project or settings.project_id
        reserve = partial(
            journal.reserve,
            f"{view.execution} {path}",
            wants,
            attempt=claim.state.attempt,
            owner=claim.state.owner,
            tenant=project,
            weight=settings.tenants.get(project, 1.0),
            priority=view.priority if node.step.priority is None else node.step.priority,
        )
        found = journal.patiently(reserve)
        self.runtime.advancer.grant(found.granted)
        if found.word == HELD:
            fault("limits_taken")
            return None
        if found.word in (WAITS, "SUPERSEDED"):
            look = journal.clock() + int(settings.recheck_interval * 1000)
            return Limited(look, found.limit)
        units = next(want.units for want in wants if want.name == found.limit)
        return refused(found.word, found.limit, units, found.capacity, about)

    def _wants(self, limit: Limit | None) -> list[Want]:
        node, view, step = self.node, self.claim.view, self.node.step
        if in_compensation(self.path):
            return [] if limit is None or limit.key is not None else self._of_all(limit, None)
        seen = context_of(view, self.path)
        wants = wants_of_resources(step.resources or {})
        for policy in node.limits:
            wants += policy.wants(view.workflow, node.key, seen)
        if limit is not None:
            given = node.input.evaluate(seen) if limit.key is not None else None
            wants += self._of_all(limit, given)
        return distinct(wants)

    def _of_all(self, limit: Limit, given: Any) -> list[Want]:
        return wants_of_capability(self.node.capability, limit, given)

    def end(self, outcome: Outcome) -> None:
        """The attempt is settled: what it held is given back, unless it waits."""
        advancer, execution = self.runtime.advancer, self.claim.view.execution
        if not isinstance(outcome, Limited):
            advancer.leave_limits(execution, self.path, self.claim.state.owner)
            return
        fault("limits_waits")
        advancer.see_granted(execution, self.path)
