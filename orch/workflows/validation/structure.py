"""What does not fit the models of a definition, in words that do not speak of pydantic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orch.workflows import definition as models
from orch.workflows import ladder, rules
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.graph import as_mapping, join, snake
from orch.workflows.policies import LANES
from orch.workflows.validation.findings import Finding, Severity
from orch.workflows.validation.wording import alternatives, show, similar

MODEL_RULE = "the rule of a model"  # marks findings, by identity; never shown

# The field that holds a model, without its index: which model it is.
_MODELS: dict[str, type[BaseModel]] = {
    "": WorkflowDefinition,
    "steps": models.WorkflowStep,
    "parallel": models.ParallelExecution,
    "branches": models.Branch,
    "join": models.AtLeast,
    "resolve": models.Resolution,
    "vote": models.Vote,
    "tolerate": models.Tolerance,
    "map": models.MapExecution,
    "loop": models.LoopExecution,
    "wait": models.WaitCondition,
    "poll": models.Poll,
    "event": models.EventDefinition,
    "subworkflow": models.SubworkflowCall,
    "retry": models.RetryPolicy,
    "compensate": models.Compensation,
    "concurrency": models.Concurrency,
    "maxActive": models.MaxActive,
    "onError": models.ErrorAction,
    "errorHandlers": models.ErrorHandler,
    "triggers": models.Trigger,
    "messageRules": rules.MessageRule,
    "enrich": rules.Enrichment,
    "memory": rules.MemorySource,
    "route": rules.Route,
    "next": models.Branches,
    "decision": models.Branches,
    "escalation": ladder.Rung,
    "escalationPaths": ladder.EscalationPath,
    "ladder": ladder.Rung,
}
_RUNGS: dict[str, type[BaseModel]] = {
    "retry": ladder.RetryRung,
    "reassign": ladder.ReassignRung,
    "fallback": ladder.FallbackRung,
    "human": ladder.HumanRung,
}
_OF_STEP: dict[str, type[BaseModel]] = {"fallback": models.StepFallback}
_WITHIN: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    ladder.Rung: _RUNGS,
    models.WorkflowStep: _OF_STEP,
}
"""Fields whose model depends on the one that they are in."""

_ALL = (*_MODELS.values(), *_RUNGS.values(), *_OF_STEP.values())
_FIELDS = {model: [f.alias or name for name, f in model.model_fields.items()] for model in _ALL}

_SNAKE = {snake(name): name for names in _FIELDS.values() for name in names if snake(name) != name}

_TIMES = {"timeout", "timeoutMs", "interval", "maxInterval"}

# What one arm of a union takes: the kind of value, and how a sentence calls it.
_ARMS: tuple[tuple[str, type, str], ...] = (
    ("constrained-str", str, "the id of a step"),
    ("constrained-int", int, "a whole number of at least 1"),
    ("literal[", str, ""),
    ("list[function-after[_one(), Rung]]", list, "a list of rungs"),
    ("list[ErrorAction]", list, "a list of objects with `next`"),
    ("list[", list, "a list"),
    ("dict[", dict, "an object of names and expressions"),
    ("Branches", dict, "an object with `expression` and `branches`"),
    ("ErrorAction", dict, "an object with `next`"),
    ("function-after[_fits_its_policy(), Resolution]", dict, "an object with `policy`"),
    ("AtLeast", dict, '`{"atLeast": n}`'),
    ("MaxActive", dict, "an object with `limit`"),
    ("SubworkflowCall", dict, "an object with `name`"),
    ("int", int, "a whole number"),
    ("str", str, "a text"),
)


@dataclass
class _Located:
    """A pydantic error with the place in the document that it speaks of."""

    error: Mapping[str, Any]
    path: str
    owner: Any  # the object around the place
    value: Any
    model: type[BaseModel]  # of the object around the place
    union: str | None = None  # path of the field that takes one of several kinds
    union_value: Any = None
    arm: str = ""


def structure_findings(document: Mapping[str, Any], error: ValidationError) -> list[Finding]:
    located = [_locate(document, each) for each in error.errors(include_url=False)]
    findings: list[Finding] = []
    unions: dict[str, list[_Located]] = {}
    for each in located:
        if each.union is None:
            findings.append(_sentence(each))
        else:
            unions.setdefault(each.union, []).append(each)
    for path, arms in unions.items():
        fitting = [a for a in arms if _arm_kind(a.arm) is type(a.union_value)]
        if fitting and not fitting[0].arm.startswith("literal["):
            findings += [_sentence(each) for each in fitting]
        else:
            findings.append(_no_arm(path, arms))
    return findings


def _locate(document: Mapping[str, Any], error: Mapping[str, Any]) -> _Located:
    found = _Located(error, "", None, document, WorkflowDefinition)
    inside: type[BaseModel] = WorkflowDefinition
    for element in error["loc"]:
        value = found.value
        if isinstance(value, dict) and isinstance(element, str) and element in value:
            found.owner, found.value, found.model = value, value[element], inside
            name = _SNAKE.get(element, element)
            found.path = join(found.path, name)
            inside = _WITHIN.get(inside, {}).get(name) or _MODELS.get(name, inside)
        elif isinstance(value, list) and isinstance(element, int) and element < len(value):
            found.owner, found.value = value, value[element]
            found.path = join(found.path, element)
        elif element == "[key]":
            found.value = error["input"]  # of the name itself, not what it names
        elif error["type"] == "missing" and element == error["loc"][-1]:
            found.owner, found.path = value, join(found.path, element)
        else:
            found.union, found.union_value, found.arm = found.path, value, str(element)
    return found


def _arm_kind(arm: str) -> type | None:
    return next((kind for prefix, kind, _ in _ARMS if arm.startswith(prefix)), None)


def _no_arm(path: str, arms: list[_Located]) -> Finding:
    takes: list[str] = []
    words: list[str] = []
    for arm in arms:
        if arm.arm.startswith("literal["):
            words += re.findall(r"'([^']*)'", arm.arm)
        takes += [words_ for prefix, _, words_ in _ARMS if arm.arm.startswith(prefix)][:1]
    if any("Rung]" in arm.arm for arm in arms):
        takes = ["a list of rungs", "the name of a path"]
    parts = [f"'{word}'" for word in words] + [part for part in dict.fromkeys(takes) if part]
    value = arms[0].union_value
    hint = similar(value, words) if isinstance(value, str) else ""
    return Finding(
        Severity.ERROR, path, f"must be {alternatives(parts)}; found {show(value)}", hint
    )


def _sentence(located: _Located) -> Finding:
    """A pydantic error in words that do not speak of pydantic."""
    error, path, value = located.error, located.path, located.value
    context = error.get("ctx", {})
    name = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
    found = f"; found {show(value)}"
    hint = ""
    match error["type"]:
        case "missing":
            message = f"the field `{name}` is missing"
        case "extra_forbidden":
            message, hint = _unknown_field(located)
        case "model_type" | "model_attributes_type" | "dict_type":
            message = f"must be an object{found}"
        case "list_type":
            message = f"must be a list{found}"
        case "string_type":
            message = f"must be text{found}"
            hint = "put it in quotes" if isinstance(value, int | float) else ""
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            message = f"must be a whole number{found}"
            hint = "times are milliseconds, written as a number" if name in _TIMES else ""
        case "float_type" | "float_parsing":
            message = f"must be a number{found}"
        case "bool_type" | "bool_parsing":
            message = f"must be true or false{found}"
        case "literal_error" | "enum":
            words = re.findall(r"'([^']*)'", context["expected"])
            listed = [repr(word) for word in words] or [context["expected"].lower()]
            message = f"must be {alternatives(listed)}{found}"
            hint = similar(value, words) if isinstance(value, str) else ""
        case "greater_than_equal":
            message = f"must be at least {context['ge']}{found}"
            if name == "maxConcurrency":
                of_map = located.model is models.MapExecution
                hint = f"leave it out for {LANES if of_map else 'no limit'}"
            elif name in ("within", "remindEvery"):
                hint = "milliseconds, or like `30m`; leave it out for no limit and no reminders"
            elif name == "batch":
                hint = "1 gives every item a message of its own; leave it out for `auto`"
        case "less_than_equal":
            message = f"must be at most {context['le']}{found}"
        case "too_short" | "string_too_short":
            message = "must not be empty"
        case "too_long":
            message = f"must have at most {context['max_length']} entries{found}"
        case "string_too_long":
            message = f"must not be longer than {context['max_length']} characters{found}"
        case "string_pattern_mismatch":
            message = f"{show(value)} is no valid name"
            hint = "letters, digits, `_`, `-` and `.`; a letter or `_` first"
            if context["pattern"].startswith("^[a-z_]"):
                hint = "letters, digits, `_` and `-`; a small letter or `_` first"
        case "value_error":
            message, hint = str(context["error"]), MODEL_RULE
            if isinstance(value, str) and "a rung is one of" in message:
                hint = similar(value, ladder.RUNGS) or "`retry`, `human` and `fail` may be bare"
        case "recursion_loop":
            path, message = "", "is nested too deeply"
        case _:
            message = f"{error['msg'][:1].lower()}{error['msg'][1:]}{found}"
    return Finding(Severity.ERROR, path, message, hint)


def _unknown_field(located: _Located) -> tuple[str, str]:
    name = str(located.error["loc"][-1])
    alias = _SNAKE.get(name, name)
    if alias != name and alias in as_mapping(located.owner):
        return f"is given twice, as `{alias}` and as `{name}`", f"keep `{alias}`"
    fields = _FIELDS[located.model]
    hint = similar(name, fields) or f"known here: {', '.join(fields)}"
    return f"unknown field `{name}`", hint


def without_mark(finding: Finding) -> Finding:
    if finding.hint is not MODEL_RULE:
        return finding
    return Finding(finding.severity, finding.path, finding.message)
