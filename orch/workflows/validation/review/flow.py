"""The way through the steps: what is never reached, and what never ends."""

from __future__ import annotations

from orch.workflows.definition import StepType
from orch.workflows.graph import ScopeKind, endless_cycles, handler_steps, reachable
from orch.workflows.validation.review.subject import Review


def check_reachability(review: Review) -> None:
    handlers = handler_steps(review.outline)
    for scope in review.outline.scopes:
        if scope.owner is not None and scope.owner not in review.live:
            continue
        entries = [step for step, _ in handlers] if scope.kind is ScopeKind.ROOT else []
        found = reachable(scope, entries)
        review.live |= found
        for number, step in enumerate(scope.steps):
            if step.id and step not in found and review.outline.places[step.id] is step:
                before = scope.steps[number - 1]
                hint = "nothing leads to it: name it in a `next`, a branch or an `onError`"
                if not before.get("next") and before.type != StepType.DECISION and before.id:
                    hint = (
                        f"step {before.id!r} before it has no `next`, and a step without "
                        f"`next` ends its scope; give it `next: {step.id}`"
                    )
                review.warning(step.path, f"step {step.id!r} is never reached", hint)


def check_cycles(review: Review) -> None:
    for scope in review.outline.scopes:
        for cycle, saved in endless_cycles(set(scope.steps)):
            names = [step.id for step in cycle]
            first = min(cycle, key=lambda step: step.index)
            start = names.index(first.id)
            way = " -> ".join([*names[start:], *names[:start], first.id])
            hint = "add a decision, or a `next` with branches, one of which leads out"
            if saved:
                message = f"only an error can leave the cycle {way}"
                review.warning(first.path, message, hint)
            else:
                review.error(first.path, f"nothing can leave the cycle {way}", hint)
