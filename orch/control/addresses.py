"""Where the messages of an execution's steps go, where rules have decided it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orch.journal.journal import Journal
from orch.workflows.message import AS_DEFINED, Address
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.rungs import subject_of


def addresses_of(
    journal: Journal, plan: Plan, execution: str, paths: Sequence[str]
) -> Mapping[str, Address]:
    """Those of the steps at ``paths`` that have rules with routes, by the path of the step; of the
    work of a rung, that of its step. Raises KeyError, Unreachable.

    The journal is asked only where the plan has such rules.
    """
    if not plan.routes:
        return AS_DEFINED
    steps = dict.fromkeys(subject_of(path) for path in paths if plan.node(path).routes)
    return journal.read_addresses(execution, list(steps)) if steps else AS_DEFINED


def node_at(journal: Journal, plan: Plan, execution: str, path: str) -> Node:
    """The step, or the work of a rung, where its messages go. Raises KeyError, Unreachable."""
    return plan.node(path, addresses_of(journal, plan, execution, (path,)).get(subject_of(path)))
