"""What a step sees of its execution: fields of the record, and the context of expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.workflows.plan import (
    Plan,
    in_handler,
    join_of,
    split,
)


@dataclass(frozen=True)
class View:
    """What the journal said of an execution, as far as the plan asked for it."""

    execution: str
    workflow: str
    input: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)  # scope path -> last output
    errors: Mapping[str, Any] = field(default_factory=dict)  # scope path -> `$.error`
    states: Mapping[str, Any] = field(default_factory=dict)  # path of a poll -> its last check
    cause: Mapping[str, Any] | None = None  # what the error handlers were called for


WORKFLOW_FIELD = "workflow"


CAUSE_FIELD = "cause"


INPUT_FIELD = "input"


ALL_VARIABLES = "v*"
"""No field has this name: those of variables begin with `v:`, and one may be called `*`."""


def variable_field(name: str) -> str:
    return f"v:{name}"


def output_field(scope_path: str) -> str:
    return f"o:{scope_path}"


def error_field(scope_path: str) -> str:
    return f"e:{scope_path}"


def state_field(path: str) -> str:
    return f"p:{path}"


def fields_for(plan: Plan, path: str) -> list[str]:
    """The fields of the record that a step at ``path`` needs, from the plan's static reads."""
    fields = _fields(plan.reads(path), split(path)[0])
    return fields if plan.node(path).poll is None else [*fields, state_field(path)]


def _fields(reads: frozenset[tuple[str, ...]], scope_path: str) -> list[str]:
    fields: set[str] = {WORKFLOW_FIELD}
    for read in reads:
        if read[0] == "input":
            fields.add(INPUT_FIELD)
        elif read[0] == "variables":
            fields.add(variable_field(read[1]) if len(read) > 1 else ALL_VARIABLES)
        elif read[0] == "output":
            fields.add(output_field(scope_path))
        elif read[0] == "cause":
            fields.add(CAUSE_FIELD)
        elif read[0] == "error":
            fields.update(error_field(scope) for scope in scopes_up(scope_path))
    if in_handler(scope_path + "/"):
        fields.update((CAUSE_FIELD, INPUT_FIELD))
    return sorted(fields)


def scopes_up(scope_path: str) -> list[str]:
    """The scope and those around it, innermost first."""
    found = [scope_path]
    while (up := join_of(found[-1])) is not None:
        found.append(split(up[0])[0])
    return found


def context_of(view: View, path: str) -> dict[str, Any]:
    """What expressions of the step at ``path`` see."""
    scope_path, own = split(path)
    context = {
        "input": view.input,
        "variables": view.variables,
        "output": view.outputs.get(scope_path),
        "error": next(
            (e for s in scopes_up(scope_path) if (e := view.errors.get(s)) is not None), None
        ),
        "workflowName": view.workflow,
        "executionId": view.execution,
        "stepId": own.partition("#")[0],
        "index": iteration_of(scope_path),
        "state": view.states.get(path),
    }
    if in_handler(path) and view.cause is not None:
        context["stepId"] = view.cause.get("step", "")
        context["input"] = {
            "error": view.cause,
            "workflow": view.workflow,
            "execution": view.execution,
            "step": view.cause.get("step", ""),
            "input": view.input,
        }
    return context


def iteration_of(scope_path: str) -> int | None:
    """The number of the innermost iteration around a scope; None outside of loops."""
    for scope in scopes_up(scope_path):
        if scope.endswith("]"):
            return int(scope[scope.rindex("[") + 1 : -1])
    return None
