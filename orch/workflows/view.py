"""What a step sees of its execution: fields of the record, and the context of expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from orch.workflows.agents import Agent
from orch.workflows.beat import Beat
from orch.workflows.compensating import CANCELLED, compensated_path, in_compensation
from orch.workflows.escalation import Escalation, escalation_field
from orch.workflows.frozen import changed
from orch.workflows.message import Address, address_field
from orch.workflows.node import Node
from orch.workflows.paths import KNOWN_PATHS, in_handler, join_of, split
from orch.workflows.plan import Plan
from orch.workflows.policies import Reads
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.state import encode


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
    ending: Mapping[str, Any] | None = None  # the error with which it will end; it unwinds
    priority: int = 0  # of the messages of its steps
    project: str = ""  # '': that of the settings
    items: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """Scope path of an item of a map -> what the map calls its items, and the item."""
    beats: Mapping[str, Beat] = field(default_factory=dict)  # path -> its last heartbeat
    agents: tuple[Agent, ...] = ()  # who is alive, where one of them may be chosen
    escalations: Mapping[str, Escalation] = field(default_factory=dict)  # by the step's path
    addresses: Mapping[str, Address] = field(default_factory=dict)
    """Path of a step whose messages rules may send elsewhere -> where they go."""


WORKFLOW_FIELD = "workflow"


PRIORITY_FIELD = "priority"


PROJECT_FIELD = "project"
"""For whom it works: those that wait for a limit share it by this."""


FIXED_FIELDS = (WORKFLOW_FIELD, PRIORITY_FIELD)
"""What every step reads, and what is the same for all of an execution."""


CAUSE_FIELD = "cause"


INPUT_FIELD = "input"


FAILING_FIELD = "failing"
"""The error of an execution that is compensated before it fails."""


CANCEL_FIELD = "cancel"
"""Who asked for its end, and why."""


ALL_VARIABLES = "v*"
"""No field has this name: those of variables begin with `v:`, and one may be called `*`."""


def variable_field(name: str) -> str:
    return f"v:{name}"


def output_field(scope_path: str) -> str:
    return f"o:{scope_path}"


def error_field(scope_path: str) -> str:
    return f"e:{scope_path}"


def own_fields(scope_path: str, path: str) -> tuple[str, ...]:
    """What the record holds of a scope, and of its step at ``path``, only once they have begun."""
    return output_field(scope_path), error_field(scope_path), beat_field(path)


def state_field(path: str) -> str:
    return f"p:{path}"


def beat_field(path: str) -> str:
    return f"b:{path}"


ITEM_MARK = "i:"
"""Begins the name of a field that is an item of a map; the journal keeps those in pages."""

PAGE = 16
"""Items in a page: one is read with its page, and a page costs about 100 bytes."""


def item_field(scope_path: str, name: str) -> str:
    """The item of a map that the scope is for; the map calls it ``name``."""
    return f"{ITEM_MARK}{scope_path}:{name}"


def parse_item_field(name: str) -> tuple[str, str]:
    """Scope path of the item, and what the map calls it."""
    _, scope_path, called = name.split(":", 2)
    return scope_path, called


def page_of(scope_path: str) -> tuple[str, int]:
    """The page that holds the item of a scope, and where in it."""
    up = join_of(scope_path)
    assert up is not None
    return f"{up[0]}/{up[1] // PAGE}", up[1] % PAGE


def pages_of(path: str, items: Sequence[Any]) -> dict[str, str]:
    """The items of the map at ``path`` as the journal keeps them."""
    return {
        f"{path}/{first // PAGE}": encode(items[first : first + PAGE])
        for first in range(0, len(items), PAGE)
    }


def fields_for(plan: Plan, path: str) -> tuple[str, ...]:
    """The fields of the record that a step at ``path`` needs, from the plan's static reads."""
    found = plan.fields.get(path)
    if found is None:
        if len(plan.fields) >= KNOWN_PATHS:
            plan.fields.clear()
        found = plan.fields[path] = tuple(_fields_for(plan, path))
    return found


def _fields_for(plan: Plan, path: str) -> list[str]:
    reads, scope_path = plan.reads(path), split(compensated_path(path))[0]
    fields = _fields(reads, scope_path) + _items(plan, reads, scope_path)
    node = plan.node(path)
    if in_compensation(path) and any(read[0] == "error" for read in reads):
        fields += [FAILING_FIELD, CANCEL_FIELD]
    if node.is_work or node.external:
        fields.append(beat_field(path))
    if node.routes:
        fields.append(address_field(subject_of(path)))
    if plan.may_escalate(path):
        fields.append(escalation_field(subject_of(path)))
    return fields if node.poll is None else [*fields, state_field(path)]


def escalated_fields_for(plan: Plan, path: str) -> tuple[str, ...]:
    """The fields that it takes to move an escalated step on."""
    return tuple(dict.fromkeys((*fields_for(plan, path), escalation_field(path))))


def affinity_fields_for(plan: Plan, path: str) -> tuple[str, ...]:
    """The fields that it takes to know the key of `affinity` of the step at ``path``."""
    affinity, scope_path = plan.node(path).affinity, split(path)[0]
    if affinity is None:
        return ()
    return (*_fields(affinity.reads, scope_path), *_items(plan, affinity.reads, scope_path))


def entry_fields_for(plan: Plan, path: str) -> tuple[str, ...]:
    """The fields that it takes to enter the step at ``path``."""
    reads, scope_path = plan.entry_reads(path), split(path)[0]
    found = _fields(reads, scope_path) + _items(plan, reads, scope_path)
    return (*found, escalation_field(path)) if plan.may_escalate(path) else tuple(found)


def _items(plan: Plan, reads: Reads, scope_path: str) -> list[str]:
    """The items that are read: the innermost one is `$.item`, each has the name of its map."""
    wanted = {read[0] for read in reads}
    found: list[str] = []
    named: set[str] = set()
    for scope in scopes_up(scope_path):
        item_of = plan.scope(scope).item_of
        if item_of is None:
            continue
        if item_of.as_ not in named and {item_of.as_, *(["item"] if not named else [])} & wanted:
            found.append(item_field(scope, item_of.as_))
        named.add(item_of.as_)
    return found


def _fields(reads: Reads, scope_path: str) -> list[str]:
    fields: set[str] = {WORKFLOW_FIELD, PRIORITY_FIELD}
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


@lru_cache(KNOWN_PATHS)
def scopes_up(scope_path: str) -> tuple[str, ...]:
    """The scope and those around it, innermost first."""
    found = [scope_path]
    while (up := join_of(found[-1])) is not None:
        found.append(split(up[0])[0])
    return tuple(found)


def context_of(view: View, path: str) -> dict[str, Any]:
    """What expressions of the step at ``path`` see."""
    scope_path, own = split(subject_of(compensated_path(path)))
    context = items_of(view, scope_path) | {
        "input": view.input,
        "variables": view.variables,
        "output": view.outputs.get(scope_path),
        "error": view.ending or (_error_of(view, scope_path) if view.errors else None),
        "workflowName": view.workflow,
        "executionId": view.execution,
        "stepId": own.partition("#")[0],
        "index": iteration_of(scope_path) if "[" in scope_path else None,
        "state": view.states.get(path),
    }
    works = in_rung(path) and not in_compensation(path)
    if works and (record := view.escalations.get(subject_of(path))) is not None:
        context["error"] = record.error
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


def node_of(plan: Plan, view: View, path: str) -> Node:
    """The step at ``path``, or the work of a rung, done where its messages go."""
    address = view.addresses.get(subject_of(path)) if view.addresses else None
    return plan.node(path, address)


def with_output(view: View, path: str, output: Any) -> View:
    """What the compensation at ``path`` sees, of a step that had this output."""
    return changed(view, outputs={split(compensated_path(path))[0]: output})


def cancelled_by(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The error of an execution that is being cancelled."""
    return {"name": CANCELLED, "message": asked.get("message", ""), "by": asked.get("by", "")}


def _error_of(view: View, scope_path: str) -> Any:
    """The one of the innermost scope that has one."""
    found = (view.errors.get(scope) for scope in scopes_up(scope_path))
    return next((error for error in found if error is not None), None)


def items_of(view: View, scope_path: str) -> dict[str, Any]:
    """`$.item`, and the items around a scope by the names that their maps give them."""
    found: dict[str, Any] = {}
    if view.items:
        for scope in reversed(scopes_up(scope_path)):
            if scope in view.items:
                name, item = view.items[scope]
                found |= {"item": item, name: item}
    return found


def iteration_of(scope_path: str) -> int | None:
    """The number of the innermost iteration or item around a scope; None outside of them."""
    for scope in scopes_up(scope_path):
        if scope.endswith("]"):
            return int(scope[scope.rindex("[") + 1 : -1])
    return None
