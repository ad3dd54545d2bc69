"""Steps: their shape, their ids, and the names of steps, workflows and capabilities."""

from __future__ import annotations

from typing import Any

from orch.workflows.definition import COMPENSATIONS, ERROR_HANDLERS, StepType
from orch.workflows.graph import Reference, Step, as_mapping
from orch.workflows.node import HUMAN_APPROVAL
from orch.workflows.validation.review.subject import Review


def check_shapes(review: Review) -> None:
    """What a step of its type must have, said also where the step has other errors."""
    for step in review.outline.steps():
        if step.type in set(StepType):
            message, hint = _shape_problem(step, StepType(step.type))
            if message:
                review.shapes.add(step.path)
                review.error(step.path, message, hint)


def check_ids(review: Review) -> None:
    for step in review.outline.steps():
        if step.id in (ERROR_HANDLERS, COMPENSATIONS):
            hint = "paths of the engine's own begin with it; choose another"
            review.error(f"{step.path}.id", f"no step may be called {step.id!r}", hint)
        elif step.id and (first := review.outline.places[step.id]) is not step:
            hint = f"the first is at {first.path}; ids are unique over the whole workflow"
            review.error(f"{step.path}.id", f"the id {step.id!r} is there twice", hint)


def check_targets(review: Review) -> None:
    for step in review.outline.steps():
        for reference in step.references:
            if reference.name not in step.scope.ids:
                _missing_target(review, step, reference)


def _missing_target(review: Review, step: Step, reference: Reference) -> None:
    elsewhere = review.outline.places.get(reference.name)
    if elsewhere is None:
        hint = review.suggest(reference.name, step.scope.ids) or review.suggest(
            reference.name, review.outline.places
        )
        message = f"there is no step {reference.name!r}"
    else:
        message = (
            f"step {reference.name!r} is in another scope: it belongs to "
            f"{elsewhere.scope.label}, this step to {step.scope.label}"
        )
        hint = "a step can only be followed by one of its own scope"
    review.error(reference.path, message, hint)


def check_handlers(review: Review) -> None:
    for path, handler in review.outline.handlers():
        name = handler.get("handler")
        if not isinstance(name, str) or name in review.outline.root.ids:
            continue
        inside = review.outline.places.get(name)
        if inside is not None:
            message = f"the handler {name!r} is a step of {inside.scope.label}"
            hint = "a handler is a step of the workflow itself, a workflow, or a capability"
            review.error(f"{path}.handler", message, hint)
        elif name not in review.known_workflows and name not in (review.known_capabilities or ()):
            known = {*review.outline.root.ids, *review.known_workflows}
            message = f"{name!r} is neither a step nor a known workflow"
            review.warning(
                f"{path}.handler",
                f"{message}; it will be tried as a capability",
                review.suggest(name, known | set(review.known_capabilities or ()))
                or f"define a workflow {name!r}, or serve a capability of that name",
            )


def check_names(review: Review) -> None:
    """Capabilities that nobody serves, and workflows that nobody defined."""
    for step in review.outline.steps():
        for path, holder in (
            (step.path, step.fields),
            (f"{step.path}.compensate", as_mapping(step.get("compensate"))),
            (f"{step.path}.fallback", as_mapping(step.get("fallback"))),
            (f"{step.path}.map", as_mapping(step.get("map"))),
            (f"{step.path}.wait.poll", as_mapping(as_mapping(step.get("wait")).get("poll"))),
        ):
            if not holder.get("external") and holder.get("capability") != HUMAN_APPROVAL:
                check_capability(review, f"{path}.capability", holder.get("capability"))
        called, path = step.get("subworkflow"), f"{step.path}.subworkflow"
        if isinstance(called, dict):
            called, path = called.get("name"), f"{path}.name"
        known = review.known_workflows
        if isinstance(called, str) and known and called not in known:
            message = f"no workflow is defined as {called!r}"
            review.warning(path, message, review.suggest(called, known))


def check_capability(review: Review, path: str, name: Any) -> None:
    known = review.known_capabilities
    if isinstance(name, str) and known is not None and name not in known:
        hint = review.suggest(name, known) or (f"start a worker: celery -A worker worker -Q {name}")
        review.warning(path, f"no known agent serves the capability {name!r}", hint)


def is_approval(step: Step) -> bool:
    """Whether a person does it, in the inbox."""
    return step.get("capability") == HUMAN_APPROVAL and not step.get("external")


def does_work(step: Step) -> bool:
    """Whether a worker does the step itself, so that it can be tried again."""
    return step.type == StepType.TASK and not step.get("external") and not is_approval(step)


def _shape_problem(step: Step, kind: StepType) -> tuple[str, str]:
    """What is wrong with the fields that a type needs, or forbids; and a hint."""
    for other in StepType:
        if other not in (StepType.TASK, kind) and step.get(other):
            message = f"the field `{other}` does not belong to a step of type `{kind}`"
            return message, f"did you mean `type: {other}`?"
    if kind is not StepType.TASK:
        missing = step.get(kind) is None
        message = f"a step of type `{kind}` needs the field `{kind}`"
        return (message, "add it, or change the type") if missing else ("", "")
    named = [name for name in ("capability", "task") if step.get(name) is not None]
    if len(named) == 2:
        return "a task names a `capability` or a Celery `task`, not both", "keep one of them"
    if not named:
        message = "a task needs a `capability`, or a Celery `task`"
        return message, "add the name of the capability that does it"
    return "", ""
