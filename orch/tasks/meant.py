"""Whether a message has come to an agent that may do its step: agents come and go meanwhile."""

from __future__ import annotations

import logging
from typing import Any

from orch.agents.capability import registry
from orch.control.runtime import Runtime
from orch.workflows.agents import queues_of_agent
from orch.workflows.node import Node
from orch.workflows.plan import Plan

logger = logging.getLogger(__name__)


def is_meant(runtime: Runtime, request: Any, plan: Plan, execution: str, path: str) -> bool:
    """Whether this worker may do a step whose agent is chosen; else the message is sent on.

    What cannot be sent on for the present, the watch sends.
    """
    node = plan.node(path)
    fits = _own_version_fits(node)
    if fits and node.affinity is None and node.step.agent is None:
        return True
    place = runtime.journal.patiently(lambda: runtime.placing.queue_of(plan, execution, path))
    if fits and place in (node.common_queue, *queues_of_agent(str(request.hostname))):
        return True
    logger.debug("%s of execution %s is for %s", path, execution, place or "nobody")
    if place != node.common_queue:
        priority = runtime.journal.priority_of(execution)
        runtime.advancer.apply(plan, execution, (path,), priority)
    return False


def _own_version_fits(node: Node) -> bool:
    """Also where the others have not heard of this worker yet."""
    found = registry().get(node.capability)
    return node.versions is None or found is None or node.versions.holds(found.version)


def came_from(request: Any, node: Node) -> str:
    """The queue that a message came from."""
    info = getattr(request, "delivery_info", None) or {}
    return str(info.get("routing_key") or node.queue)
