"""The message of an attempt: as its step hands it over, and as the rules make it."""

from __future__ import annotations

from orch.workflows.message import Message
from orch.workflows.node import Node
from orch.workflows.passage import Prepared, Recall, prepare
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.view import View, context_of, node_of


def prepare_call(plan: Plan, node: Node, view: View, path: str, recall: Recall) -> Prepared:
    """What the attempt at ``path`` calls. ``node``: the step, or the work of a rung, where its
    messages go; it has rules.

    The work of another capability has no route of its own: the rules take its message as one to
    that capability. Raises StepError.
    """
    assert node.rules is not None
    subject = subject_of(path)
    address = view.addresses.get(subject)
    first, decided = plan.node(subject), address.rules if address is not None else ()
    if in_rung(path) and node.capability != node_of(plan, view, subject).capability:
        first, decided = node, ()
    context = context_of(view, path)
    message = Message.of(first, node.input.evaluate(context), view.priority)
    return prepare(node.rules, message, context, node.input, decided, recall)
