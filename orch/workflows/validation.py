"""What is wrong with a definition: findings with path, severity, message and hint, all at once.

The structure is checked by the models of `definition`; what the steps mean is checked on the
outline of the raw document (`graph`), so that a document with an unknown field still hears of
its missing targets. The reference of all findings is docs/validation.md.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema import ValidationError as SchemaMismatch
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # ships none
from pydantic import BaseModel, ValidationError
from referencing import Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from orch.errors import ExpressionError, InputError
from orch.workflows import definition as models
from orch.workflows.definition import ERROR_HANDLERS, StepType, WorkflowDefinition
from orch.workflows.durations import parse_duration, parse_instant
from orch.workflows.expressions import MAX_NESTING, Expression, parse_expression, parse_template
from orch.workflows.graph import (
    EdgeKind,
    Outline,
    Reference,
    Scope,
    ScopeKind,
    Step,
    as_list,
    as_mapping,
    endless_cycles,
    get,
    handler_steps,
    item_roots,
    join,
    outline,
    reachable,
    snake,
)

MAX_DEPTH = 500
"""Levels of JSON in a definition: what can be hashed and stored without exhausting the stack."""
MAX_NODES = 250_000
"""Values in a definition, every one counted."""
MAX_SUGGESTIONS = 100
"""Findings of one document that look for a similar name, which takes time."""

ROOTS = ("input", "variables", "output", "error", "workflowName", "executionId", "stepId")
"""What every expression may read."""

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = re.compile(r"[^\W\d]\w*")


class Severity(StrEnum):
    ERROR = "error"  # the definition cannot be used
    WARNING = "warning"  # it can, and will likely not do what is meant
    INFO = "info"  # worth a look


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; ``path`` is where, ``hint`` what to do."""

    severity: Severity
    path: str
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "severity": self.severity.value,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.severity}: {self.path or 'workflow'}: {self.message}{hint}"


def validate_document(
    raw: Mapping[str, Any],
    *,
    known_workflows: Collection[str] = (),
    known_capabilities: Collection[str] | None = None,
) -> tuple[WorkflowDefinition | None, list[Finding]]:
    """The definition, if its structure allows one, and all that is wrong. Never raises.

    ``known_workflows`` are the keys under which workflows are defined; ``known_capabilities``
    those that some agent serves, None where nobody knows.
    """
    document, findings = _plain(raw)
    if not isinstance(document, dict):
        return None, findings
    definition: WorkflowDefinition | None = None
    structure: list[Finding] = []
    try:
        definition = WorkflowDefinition.model_validate(document)
    except ValidationError as error:
        structure = _structure(document, error)
    review = _Review(document, known_workflows, known_capabilities)
    review.run()
    # A rule of a model that the review explains better is said once.
    structure = [f for f in structure if f.hint is not _MODEL_RULE or f.path not in review.shapes]
    found = findings + [_without_mark(f) for f in structure] + review.findings
    if any(finding.severity is Severity.ERROR for finding in findings):
        definition = None
    return definition, sorted(dict.fromkeys(found), key=_order)


def validate_definition(
    definition: WorkflowDefinition,
    *,
    known_workflows: Collection[str] = (),
    known_capabilities: Collection[str] | None = None,
) -> list[Finding]:
    """All that is wrong with a definition that has the right structure."""
    try:
        raw = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    except (ValueError, RecursionError):  # pydantic gives up at 255 models in one another
        return [Finding(Severity.ERROR, "", _TOO_DEEP)]
    document, findings = _plain(raw)
    if not isinstance(document, dict):
        return findings
    review = _Review(document, known_workflows, known_capabilities)
    review.run()
    return sorted(dict.fromkeys(findings + review.findings), key=_order)


def errors_in(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep a definition from being used."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def _order(finding: Finding) -> tuple[int, list[tuple[int, int, str]]]:
    """Errors first; then in the order of the paths, numbers by value."""
    parts = re.findall(r"\d+|[^\d\[\].]+", finding.path)
    natural = [(0, int(p), "") if p.isdecimal() and len(p) < 10 else (1, 0, p) for p in parts]
    return list(Severity).index(finding.severity), natural


# --- plain JSON ------------------------------------------------------------------------------

_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def _plain(raw: Any) -> tuple[Any, list[Finding]]:
    """A copy of ``raw`` in plain JSON with text as keys, or None where it cannot be one."""
    findings: list[Finding] = []

    def wrong(path: str, message: str, hint: str = "") -> None:
        findings.append(Finding(Severity.ERROR, path, message, hint))

    if not isinstance(raw, Mapping):
        wrong("", f"must be an object with `name` and `steps`; found {_show(raw)}")
        return None, findings
    root: list[Any] = [None]
    work: list[tuple[Any, Any, Any, str, int]] = [(raw, root, 0, "", 1)]
    count = 0
    while work:
        value, holder, place, path, depth = work.pop()
        count += 1
        if depth > MAX_DEPTH:
            wrong("", _TOO_DEEP, "call a part of it as a subworkflow")
            return None, findings
        if count + len(work) > MAX_NODES:
            wrong("", f"holds more than {MAX_NODES:,} values", "hand large data in as the input")
            return None, findings
        if isinstance(value, Mapping):
            copy: dict[str, Any] = {}
            for key, item in value.items():
                text = _key(key)
                if text is None:
                    wrong(path, f"the key {_show(key)} is no text")
                elif text in copy:
                    wrong(path, f"the key {text!r} is there twice")
                else:
                    copy[text] = None
                    work.append((item, copy, text, join(path, text), depth + 1))
            holder[place] = copy
        elif isinstance(value, list | tuple):
            holder[place] = [None] * len(value)
            for index, item in enumerate(value):
                work.append((item, holder[place], index, join(path, index), depth + 1))
        elif (reason := _not_json(value)) is not None:
            wrong(path, reason)
        else:
            holder[place] = value
    return root[0], findings


def _key(key: Any) -> str | None:
    """A key as text: what YAML takes for true, null or a number is written as in JSON."""
    if isinstance(key, str):
        return key if _not_json(key) is None else None
    if key is None or (isinstance(key, bool | int | float) and _not_json(key) is None):
        return json.dumps(key)
    return None


def _not_json(value: Any) -> str | None:
    """Why a scalar cannot be in JSON."""
    if isinstance(value, str):
        if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value):
            return None
        return "holds half of a surrogate pair, which is no text"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no JSON number"
    if isinstance(value, int) and value.bit_length() > 10_000:
        return "is a number of more than 3,000 digits"
    if value is None or isinstance(value, bool | int | float):
        return None
    return f"is a {type(value).__name__}, which JSON cannot hold"


def _show(value: Any) -> str:
    """A value in a sentence: what it is, and how it begins."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 200:
            return "a huge number"
        case int() | float():
            return f"the number {value}"
        case str():
            return repr(value if len(value) <= 60 else f"{value[:57]}...")
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case Mapping():
            keys = ", ".join(f"`{key}`" for key in list(map(str, value))[:3])
            return f"an object with {keys}" if keys else "an empty object"
    return f"a {type(value).__name__}"


def _similar(word: str, candidates: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing."""
    names = list(dict.fromkeys(candidates))
    folded = re.sub(r"[^a-z0-9]", "", word.lower())
    same = [n for n in names if folded and re.sub(r"[^a-z0-9]", "", n.lower()) == folded]
    close = same or difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


# --- structure -------------------------------------------------------------------------------

_MODEL_RULE = "the rule of a model"  # marks findings, by identity; never shown

# The field that holds a model, without its index: which model it is.
_MODELS: dict[str, type[BaseModel]] = {
    "": WorkflowDefinition,
    "steps": models.WorkflowStep,
    "parallel": models.ParallelExecution,
    "branches": models.Branch,
    "join": models.AtLeast,
    "tolerate": models.Tolerance,
    "map": models.MapExecution,
    "loop": models.LoopExecution,
    "wait": models.WaitCondition,
    "poll": models.Poll,
    "event": models.EventDefinition,
    "subworkflow": models.SubworkflowCall,
    "retry": models.RetryPolicy,
    "onError": models.ErrorAction,
    "errorHandlers": models.ErrorHandler,
    "next": models.Branches,
    "decision": models.Branches,
}
_FIELDS = {
    model: [f.alias or name for name, f in model.model_fields.items()] for model in _MODELS.values()
}
_SNAKE = {snake(name): name for names in _FIELDS.values() for name in names if snake(name) != name}
_TIMES = {"timeout", "timeoutMs", "interval", "maxInterval"}

# What one arm of a union takes: the kind of value, and how a sentence calls it.
_ARMS: tuple[tuple[str, type, str], ...] = (
    ("constrained-str", str, "the id of a step"),
    ("constrained-int", int, "a whole number of at least 1"),
    ("literal[", str, ""),
    ("list[ErrorAction]", list, "a list of objects with `next`"),
    ("list[", list, "a list"),
    ("dict[", dict, "an object of names and expressions"),
    ("Branches", dict, "an object with `expression` and `branches`"),
    ("ErrorAction", dict, "an object with `next`"),
    ("AtLeast", dict, '`{"atLeast": n}`'),
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


def _structure(document: Mapping[str, Any], error: ValidationError) -> list[Finding]:
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
            found.path, inside = join(found.path, name), _MODELS.get(name, inside)
        elif isinstance(value, list) and isinstance(element, int) and element < len(value):
            found.owner, found.value = value, value[element]
            found.path = join(found.path, element)
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
    parts = [f"'{word}'" for word in words] + [part for part in dict.fromkeys(takes) if part]
    value = arms[0].union_value
    hint = _similar(value, words) if isinstance(value, str) else ""
    return Finding(
        Severity.ERROR, path, f"must be {_alternatives(parts)}; found {_show(value)}", hint
    )


def _alternatives(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _sentence(located: _Located) -> Finding:
    """A pydantic error in words that do not speak of pydantic."""
    error, path, value = located.error, located.path, located.value
    context = error.get("ctx", {})
    name = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
    found = f"; found {_show(value)}"
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
            message = f"must be {_alternatives([repr(word) for word in words])}{found}"
            hint = _similar(value, words) if isinstance(value, str) else ""
        case "greater_than_equal":
            message = f"must be at least {context['ge']}{found}"
            if name == "maxConcurrency":
                hint = "leave it out for no limit"
        case "less_than_equal":
            message = f"must be at most {context['le']}{found}"
        case "too_short" | "string_too_short":
            message = "must not be empty"
        case "string_too_long":
            message = f"must not be longer than {context['max_length']} characters{found}"
        case "string_pattern_mismatch":
            message = f"{_show(value)} is no valid name"
            hint = "letters, digits, `_`, `-` and `.`; a letter or `_` first"
        case "value_error":
            message, hint = str(context["error"]), _MODEL_RULE
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
    hint = _similar(name, fields) or f"known here: {', '.join(fields)}"
    return f"unknown field `{name}`", hint


def _without_mark(finding: Finding) -> Finding:
    if finding.hint is not _MODEL_RULE:
        return finding
    return Finding(finding.severity, finding.path, finding.message)


# --- meaning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Use:
    """An expression, or a text that may hold some, and when it is evaluated."""

    path: str
    text: str
    whole: bool  # an expression as a whole, not a text with interpolations
    after: bool = False  # after the step did its work: it sees what the step writes
    roots: frozenset[str] = frozenset()


@dataclass
class _Flow:
    """Variables as bits: what may, and what must, be set when a run comes to a step."""

    may: dict[Step, int] = field(default_factory=dict)
    must: dict[Step, int] = field(default_factory=dict)

    def come(self, step: Step, may: int, must: int) -> bool:
        """Note one more way to a step; answers whether that says anything new."""
        before = (self.may.get(step), self.must.get(step))
        self.may[step] = (before[0] or 0) | may
        self.must[step] = must if before[1] is None else before[1] & must
        return before != (self.may[step], self.must[step])


class _Review:
    """One method per check, in the order of `run`; what they find is in ``findings``."""

    def __init__(
        self,
        document: Mapping[str, Any],
        known_workflows: Collection[str],
        known_capabilities: Collection[str] | None,
    ) -> None:
        self.document = document
        self.known_workflows = known_workflows
        self.known_capabilities = known_capabilities
        self.outline: Outline = outline(document)
        self.findings: list[Finding] = []
        self.suggestions = MAX_SUGGESTIONS
        self.shapes: set[str] = set()  # paths of steps whose shape is said to be wrong
        self.live: set[Step] = set()
        self.led_to = {edge.target for step in self.outline.steps() for edge in step.edges}
        self.led_to |= {step for step, _ in handler_steps(self.outline)}
        self.closed_input = _closed_input(as_mapping(document.get("input")))
        self.bits: dict[str, int] = {}
        self.own: dict[Step, int] = {}  # variables that the step's output mapping sets
        self.inner: dict[Step, int] = {}  # variables that steps within it set
        self.flow = _Flow()

    def run(self) -> None:
        self.check_shapes()
        self.check_ids()
        self.check_targets()
        self.check_handlers()
        self.check_reachability()
        self.check_cycles()
        self.check_schemas()
        self.check_output_mappings()
        self.trace_variables()
        self.check_expressions()
        self.check_parallel()
        self.check_waits()
        self.check_timeouts()
        self.check_retries()
        self.check_names()

    def error(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.ERROR, path, message, hint))

    def warning(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.WARNING, path, message, hint))

    def suggest(self, word: str, candidates: Iterable[str]) -> str:
        self.suggestions -= 1
        return _similar(word, candidates) if self.suggestions >= 0 else ""

    # --- steps and their targets ---------------------------------------------------------

    def check_shapes(self) -> None:
        """What a step of its type must have, said also where the step has other errors."""
        for step in self.outline.steps():
            if step.type in set(StepType):
                message, hint = _shape_problem(step, StepType(step.type))
                if message:
                    self.shapes.add(step.path)
                    self.error(step.path, message, hint)

    def check_ids(self) -> None:
        for step in self.outline.steps():
            if step.id == ERROR_HANDLERS:
                hint = "the paths of error handlers begin with it; choose another"
                self.error(f"{step.path}.id", f"no step may be called {ERROR_HANDLERS!r}", hint)
            elif step.id and (first := self.outline.places[step.id]) is not step:
                hint = f"the first is at {first.path}; ids are unique over the whole workflow"
                self.error(f"{step.path}.id", f"the id {step.id!r} is there twice", hint)

    def check_targets(self) -> None:
        for step in self.outline.steps():
            for reference in step.references:
                if reference.name not in step.scope.ids:
                    self.missing_target(step, reference)

    def missing_target(self, step: Step, reference: Reference) -> None:
        elsewhere = self.outline.places.get(reference.name)
        if elsewhere is None:
            hint = self.suggest(reference.name, step.scope.ids) or self.suggest(
                reference.name, self.outline.places
            )
            message = f"there is no step {reference.name!r}"
        else:
            message = (
                f"step {reference.name!r} is in another scope: it belongs to "
                f"{elsewhere.scope.label}, this step to {step.scope.label}"
            )
            hint = "a step can only be followed by one of its own scope"
        self.error(reference.path, message, hint)

    def check_handlers(self) -> None:
        for path, handler in self.outline.handlers():
            name = handler.get("handler")
            if not isinstance(name, str) or name in self.outline.root.ids:
                continue
            inside = self.outline.places.get(name)
            if inside is not None:
                message = f"the handler {name!r} is a step of {inside.scope.label}"
                hint = "a handler is a step of the workflow itself, a workflow, or a capability"
                self.error(f"{path}.handler", message, hint)
            elif name not in self.known_workflows and name not in (self.known_capabilities or ()):
                known = {*self.outline.root.ids, *self.known_workflows}
                message = f"{name!r} is neither a step nor a known workflow"
                self.warning(
                    f"{path}.handler",
                    f"{message}; it will be tried as a capability",
                    self.suggest(name, known | set(self.known_capabilities or ()))
                    or f"define a workflow {name!r}, or serve a capability of that name",
                )

    def check_reachability(self) -> None:
        handlers = handler_steps(self.outline)
        for scope in self.outline.scopes:
            if scope.owner is not None and scope.owner not in self.live:
                continue
            entries = [step for step, _ in handlers] if scope.kind is ScopeKind.ROOT else []
            found = reachable(scope, entries)
            self.live |= found
            for number, step in enumerate(scope.steps):
                if step.id and step not in found and self.outline.places[step.id] is step:
                    before = scope.steps[number - 1]
                    hint = "nothing leads to it: name it in a `next`, a branch or an `onError`"
                    if not before.get("next") and before.type != StepType.DECISION and before.id:
                        hint = (
                            f"step {before.id!r} before it has no `next`, and a step without "
                            f"`next` ends its scope; give it `next: {step.id}`"
                        )
                    self.warning(step.path, f"step {step.id!r} is never reached", hint)

    def check_cycles(self) -> None:
        for scope in self.outline.scopes:
            steps = {step for step in scope.steps if step in self.live}
            for cycle, saved in endless_cycles(steps):
                names = [step.id for step in cycle]
                first = min(cycle, key=lambda step: step.index)
                start = names.index(first.id)
                way = " -> ".join([*names[start:], *names[:start], first.id])
                hint = "add a decision, or a `next` with branches, one of which leads out"
                if saved:
                    message = f"only an error can leave the cycle {way}"
                    self.warning(first.path, message, hint)
                else:
                    self.error(first.path, f"nothing can leave the cycle {way}", hint)

    # --- schemas -------------------------------------------------------------------------

    def check_schemas(self) -> None:
        for name in ("input", "output"):
            schema = self.document.get(name)
            if isinstance(schema, dict):
                for path, message in _schema_problems(schema):
                    self.error(_extend(name, path), f"is no valid JSON Schema: {message}")

    # --- variables -----------------------------------------------------------------------

    def check_output_mappings(self) -> None:
        for step in self.outline.steps():
            output, path = step.get("output"), f"{step.path}.output"
            names = [output] if isinstance(output, str) else list(as_mapping(output))
            self.own[step] = 0
            for name in names:
                if not _VARIABLE.fullmatch(name):
                    hint = "letters, digits and `_`, a letter or `_` first"
                    if isinstance(output, str) and "$" in name:
                        hint = "to map an expression, write an object: name to expression"
                    place = path if isinstance(output, str) else join(path, name)
                    self.error(place, f"{_show(name)} is no name of a variable", hint)
                    continue
                self.own[step] |= 1 << self.bits.setdefault(name, len(self.bits))

    def trace_variables(self) -> None:
        """Which variables may be set, and which surely are, when a run comes to a step.

        First each scope by itself, inner ones first, as if it began with nothing; since
        nothing is ever unset, what its surroundings have set is added afterwards.
        """
        handlers = [step for step, _ in handler_steps(self.outline)]
        surely: dict[Scope, int] = {}
        gives: dict[Step, int] = {}
        for scope in reversed(self.outline.scopes):
            for step in scope.steps:
                self.inner[step] = 0
                for inner in step.inner:
                    for each in inner.steps:
                        self.inner[step] |= self.own[each] | self.inner[each]
                gives[step] = self.own[step] | _surely_inside(step, surely)
                if step.get("condition") is not None:
                    gives[step] = 0
            self.trace_scope(scope, gives, handlers if scope.kind is ScopeKind.ROOT else [])
            ends = [s for s in scope.steps if s in self.live and (s.ends_scope or s.dangling)]
            after = [self.flow.must[step] | gives[step] for step in ends if step in self.flow.must]
            surely[scope] = _all_of(after)
        for scope in self.outline.scopes:
            if scope.owner is None or scope.owner not in self.flow.may:
                continue
            may, must = self.flow.may[scope.owner], self.flow.must[scope.owner]
            if scope.kind is ScopeKind.LOOP:
                may |= self.inner[scope.owner]
            for step in scope.steps:
                if step in self.flow.may:
                    self.flow.may[step] |= may
                    self.flow.must[step] |= must

    def trace_scope(self, scope: Scope, gives: Mapping[Step, int], handlers: list[Step]) -> None:
        passed: dict[Step, None] = {}
        work = [step for step in scope.steps[:1] if self.flow.come(step, 0, 0)]
        while work:
            while work:
                step = work.pop()
                passed[step] = None
                may, must = self.flow.may[step] | self.inner[step], self.flow.must[step]
                for edge in step.edges:
                    failed = edge.kind is EdgeKind.ERROR
                    new_may = may if failed else may | self.own[step]
                    if self.flow.come(edge.target, new_may, must if failed else must | gives[step]):
                        work.append(edge.target)
            # Any step may fail and come to a handler; by turns, since there are many steps.
            for handler in handlers:
                others = [step for step in passed if step is not handler]
                may = _any_of(self.flow.may[step] | self.inner[step] for step in others)
                must = _all_of([self.flow.must[step] for step in others])
                if others and self.flow.come(handler, may, must):
                    work.append(handler)

    # --- expressions ---------------------------------------------------------------------

    def check_expressions(self) -> None:
        for step in self.outline.steps():
            for use in self.uses(step):
                self.check_use(use, step)
        for use in self.texts("result", self.document.get("result")):
            self.check_use(use, None)

    def check_use(self, use: _Use, step: Step | None) -> None:
        for text, reads in self.compiled(use):
            for read in sorted(reads):
                self.check_root(use, read[0])
                match read:
                    case ("variables", name, *_) if step is None or step in self.live:
                        self.check_variable(use, step, name, text)
                    case ("input", name, *_):
                        self.check_input_name(use, name)
                    case ("output", *_) if step in self.live and not use.after:
                        assert step is not None
                        self.check_output_before(use, step)

    def has_step_before(self, step: Step) -> bool:
        """Whether `$.output` of a step before can be known when a run comes to the step."""
        first = step is step.scope.steps[0] and step.scope.kind is not ScopeKind.LOOP
        return not first or step in self.led_to

    def compiled(self, use: _Use) -> Iterator[tuple[str, frozenset[tuple[str, ...]]]]:
        """Text and reads of every expression in a text; an error for what does not parse."""
        try:
            if use.whole:
                yield use.text, parse_expression(use.text).reads
                return
            parts = parse_template(use.text).parts
        except ExpressionError as error:
            self.error(use.path, error.message, error.hint)
            return
        for part in parts:
            if isinstance(part, Expression):
                yield part.text, part.reads

    def check_root(self, use: _Use, root: str) -> None:
        if root in ROOTS or root in use.roots:
            return
        legal = [f"$.{each}" for each in (*ROOTS, *sorted(use.roots))]
        hint = self.suggest(f"$.{root}", legal)
        if root in self.bits:
            hint = f"variables are read as `$.variables.{root}`"
        self.error(use.path, f"`$.{root}` is unknown; here one may read {', '.join(legal)}", hint)

    def check_input_name(self, use: _Use, name: str) -> None:
        if self.closed_input is not None and name not in self.closed_input:
            message = f"`$.input.{name}` is read, but the input's schema has no {name!r}"
            self.warning(use.path, message, self.suggest(name, self.closed_input))

    def check_output_before(self, use: _Use, step: Step) -> None:
        if not self.has_step_before(step):
            self.warning(
                use.path,
                "`$.output` is the output of the step before in the same scope, and this is "
                "the first: it is null",
                "read a variable that an earlier step sets, or `$.input`",
            )

    def check_variable(self, use: _Use, step: Step | None, name: str, text: str) -> None:
        bit = 1 << self.bits[name] if name in self.bits else 0
        if step is None:
            may = must = self.written()
        else:
            may, must = self.flow.may[step], self.flow.must[step]
            if use.after:
                may |= self.own[step] | self.inner[step]
                must |= self.own[step] | self.inner[step]
        if bit & must:
            return
        if bit & may:
            if "||" not in text:
                self.findings.append(
                    Finding(
                        Severity.INFO,
                        use.path,
                        f"variable {name!r} is not set on every way to this step; where it is "
                        "not, it is null",
                        f"give a default, as in `$.variables.{name} || $.input.{name}`",
                    )
                )
            return
        message = f"variable {name!r} is read, but no step before this one sets it"
        writers = [each.id for each in self.outline.steps() if self.own[each] & bit]
        if writers:
            hint = f"it is set by {', '.join(map(repr, writers[:3]))}, too late for this step"
        else:
            hint = self.suggest(name, self.bits) or "set it in the `output` of a step before"
        self.warning(use.path, message, hint)

    def written(self) -> int:
        return _any_of(self.own.values())

    def uses(self, step: Step) -> Iterator[_Use]:
        """Every expression of a step."""
        roots, path = step.scope.roots, step.path
        yield from self.texts(f"{path}.input", step.get("input"), roots=roots)
        yield from self.whole(f"{path}.condition", step.get("condition"), roots=roots)
        choice = as_mapping(step.get("decision"))
        yield from self.whole(f"{path}.decision.expression", choice.get("expression"), roots=roots)
        yield from self.wait_uses(step)
        for name, value in as_mapping(step.get("output")).items():
            yield from self.texts(join(f"{path}.output", name), value, after=True, roots=roots)
        following = as_mapping(step.get("next")).get("expression")
        yield from self.whole(f"{path}.next.expression", following, after=True, roots=roots)
        yield from self.map_uses(step)
        looped, within = as_mapping(step.get("loop")), roots | {"index"}
        yield from self.whole(f"{path}.loop.while", get(looped, "while"), after=True, roots=within)
        yield from self.whole(f"{path}.loop.until", looped.get("until"), after=True, roots=within)
        event = as_mapping(step.get("event"))
        yield from self.texts(f"{path}.event.match", event.get("match"), after=True, roots=roots)
        for name in ("correlation", "payload"):
            yield from self.texts(f"{path}.event.{name}", event.get(name), roots=roots)

    def wait_uses(self, step: Step) -> Iterator[_Use]:
        wait, roots, path = as_mapping(step.get("wait")), step.scope.roots, f"{step.path}.wait"
        poll = wait.get("poll")
        yield from self.texts(f"{path}.duration", wait.get("duration"), roots=roots)
        if isinstance(poll, dict):
            yield from self.texts(f"{path}.poll.input", poll.get("input"), roots=roots)
            yield from self.whole(f"{path}.until", wait.get("until"), after=True, roots=roots)
        else:
            yield from self.texts(f"{path}.until", wait.get("until"), roots=roots)

    def map_uses(self, step: Step) -> Iterator[_Use]:
        mapped, roots, path = as_mapping(step.get("map")), step.scope.roots, f"{step.path}.map"
        yield from self.texts(f"{path}.items", mapped.get("items"), roots=roots)
        within = roots | item_roots(mapped) if mapped else roots
        yield from self.texts(f"{path}.input", mapped.get("input"), roots=within)
        yield from self.texts(f"{path}.collect", mapped.get("collect"), after=True, roots=within)
        yield from self.texts(f"{path}.name", mapped.get("name"), roots=within)

    def whole(
        self, path: str, text: Any, *, after: bool = False, roots: frozenset[str]
    ) -> Iterator[_Use]:
        if isinstance(text, str):
            yield _Use(path, text, True, after, roots)

    def texts(
        self, path: str, value: Any, *, after: bool = False, roots: frozenset[str] = frozenset()
    ) -> Iterator[_Use]:
        """The strings within a JSON value, which may hold expressions."""
        work = [(path, value, 0)]
        while work:
            place, each, depth = work.pop()
            if isinstance(each, str):
                if "$" in each:
                    yield _Use(place, each, False, after, roots)
            elif isinstance(each, dict | list):
                if depth >= MAX_NESTING:
                    self.error(path, f"the value is nested deeper than {MAX_NESTING} levels")
                    return
                items = each.items() if isinstance(each, dict) else enumerate(each)
                work += [(join(place, key), item, depth + 1) for key, item in items]

    # --- the rest ------------------------------------------------------------------------

    def check_parallel(self) -> None:
        for step in self.outline.steps():
            parallel = as_mapping(step.get("parallel"))
            branches = as_list(parallel.get("branches"))
            at_least = get(as_mapping(parallel.get("join")), "atLeast")
            if isinstance(at_least, int) and branches and at_least > len(branches):
                message = f"{at_least} branches must succeed, and there are {len(branches)}"
                self.error(f"{step.path}.parallel.join.atLeast", message)
            writers: dict[str, list[str]] = {}
            for inner in step.inner:
                if inner.kind is ScopeKind.BRANCH:
                    sets = _any_of(self.own[each] | self.inner[each] for each in inner.steps)
                    for name in self.names(sets):
                        writers.setdefault(name, []).append(inner.label.partition(" of ")[0])
            for name, labels in writers.items():
                if len(labels) > 1:
                    message = f"{' and '.join(labels)} all set variable {name!r}: the last one wins"
                    if len(labels) == 2:
                        message = message.replace(" all set ", " both set ")
                    hint = "give each branch a variable of its own"
                    self.warning(f"{step.path}.parallel", message, hint)

    def names(self, bits: int) -> list[str]:
        return [name for name, bit in self.bits.items() if bits >> bit & 1] if bits else []

    def check_waits(self) -> None:
        for step in self.outline.steps():
            wait = as_mapping(step.get("wait"))
            duration, until = wait.get("duration"), wait.get("until")
            if isinstance(duration, int | str) and not _has_expression(duration):
                self.check_time(f"{step.path}.wait.duration", parse_duration, duration)
            if isinstance(until, str) and not wait.get("poll") and not _has_expression(until):
                self.check_time(f"{step.path}.wait.until", parse_instant, until)

    def check_time(self, path: str, parse: Any, value: Any) -> None:
        try:
            parse(value)
        except ValueError as error:
            message, _, hint = str(error).partition(": ")
            self.error(path, message, hint)

    def check_timeouts(self) -> None:
        if get(self.document, "timeoutMs") is not None:
            return
        for step in self.outline.steps():
            if step.type == StepType.TASK and step.get("timeout") is None:
                self.warning(
                    step.path,
                    f"step {step.id!r} has no `timeout`, and the workflow no `timeoutMs`: an "
                    "attempt that hangs is never ended",
                    "add `timeout`, ms, or `timeoutMs` to the workflow",
                )

    def check_retries(self) -> None:
        policies = [(f"{step.path}.retry", step.get("retry")) for step in self.outline.steps()]
        policies += [(f"{path}.retry", h.get("retry")) for path, h in self.outline.handlers()]
        for path, policy in policies:
            if isinstance(policy, dict):
                self.check_pauses(path, policy)
                if get(policy, "maxAttempts") is None:
                    message = "has no `maxAttempts`: an attempt that always fails is tried for ever"
                    self.warning(path, message, "add `maxAttempts`")
        for step in self.outline.steps():
            poll = as_mapping(step.get("wait")).get("poll")
            if isinstance(poll, dict):
                self.check_pauses(f"{step.path}.wait.poll", poll)

    def check_pauses(self, path: str, fields: Mapping[str, Any]) -> None:
        longest, first = get(fields, "maxInterval"), fields.get("interval", 1000)
        if isinstance(longest, int) and isinstance(first, int) and longest < first:
            default = "" if "interval" in fields else " (the default)"
            message = f"the longest pause, {longest} ms, is shorter than the first, {first} ms"
            self.warning(
                f"{path}.maxInterval", message + default, "raise `maxInterval`, or lower `interval`"
            )

    def check_names(self) -> None:
        """Capabilities that nobody serves, and workflows that nobody defined."""
        for step in self.outline.steps():
            for path, holder in (
                (step.path, step.fields),
                (f"{step.path}.map", as_mapping(step.get("map"))),
                (f"{step.path}.wait.poll", as_mapping(as_mapping(step.get("wait")).get("poll"))),
            ):
                self.check_capability(f"{path}.capability", holder.get("capability"))
            called, path = step.get("subworkflow"), f"{step.path}.subworkflow"
            if isinstance(called, dict):
                called, path = called.get("name"), f"{path}.name"
            known = self.known_workflows
            if isinstance(called, str) and known and called not in known:
                message = f"no workflow is defined as {called!r}"
                self.warning(path, message, self.suggest(called, known))

    def check_capability(self, path: str, name: Any) -> None:
        known = self.known_capabilities
        if isinstance(name, str) and known is not None and name not in known:
            hint = self.suggest(name, known) or (
                f"start a worker: celery -A worker worker -Q {name}"
            )
            self.warning(path, f"no known agent serves the capability {name!r}", hint)


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


def _closed_input(schema: Mapping[str, Any]) -> Collection[str] | None:
    """The names that an input may have, if its schema allows no others."""
    open_keys = ("patternProperties", "$ref", "allOf", "anyOf", "oneOf")
    properties = schema.get("properties")
    if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
        return None
    return None if any(key in schema for key in open_keys) else properties


def _surely_inside(step: Step, surely: Mapping[Scope, int]) -> int:
    """Variables that are set within a step whenever it succeeds."""
    parallel = as_mapping(step.get("parallel"))
    if parallel and parallel.get("join", "all") == "all" and not parallel.get("tolerate"):
        return _any_of(surely[inner] for inner in step.inner)
    if as_mapping(step.get("loop")).get("while") is None:
        return _any_of(surely[inner] for inner in step.inner if inner.kind is ScopeKind.LOOP)
    return 0


def _any_of(sets: Iterable[int]) -> int:
    found = 0
    for each in sets:
        found |= each
    return found


def _all_of(sets: list[int]) -> int:
    found = sets[0] if sets else 0
    for each in sets:
        found &= each
    return found


def _has_expression(value: Any) -> bool:
    """Whether a text holds an expression, or one that does not parse and is reported as such."""
    if not isinstance(value, str):
        return False
    try:
        return not parse_template(value).is_literal
    except ExpressionError:
        return True


# --- input and output ------------------------------------------------------------------------


def check_input(definition: WorkflowDefinition, value: Any) -> None:
    """Raise InputError, naming every field that misses the workflow's input schema."""
    if definition.input is None:
        return
    sentences = _misses(definition.input, value)
    if sentences:
        listed = "\n".join(f"  {sentence}" for sentence in sentences)
        raise InputError(
            f"the input of workflow {definition.name!r} does not fit its schema:\n{listed}",
            hint=_expected_input(definition.input),
        )


def check_output(definition: WorkflowDefinition, value: Any) -> list[str]:
    """A sentence for every field of an output that misses the workflow's output schema."""
    return [] if definition.output is None else _misses(definition.output, value)


def _misses(schema: Mapping[str, Any], value: Any) -> list[str]:
    text = json.dumps(schema, sort_keys=True)
    validator, problems = _validator(text)
    if problems:
        path, message = problems[0]
        return [f"the schema itself is not valid, at {_extend('', path) or 'its root'}: {message}"]
    try:
        found = sorted(validator.iter_errors(value), key=_by_place)
    except (RecursionError, Unresolvable) as error:
        return [f"the schema cannot be applied: {type(error).__name__}"]
    return list(dict.fromkeys(_mismatch(error) for error in found))


def _by_place(error: SchemaMismatch) -> tuple[list[str], bool]:
    """In the order of the fields; what is missing first."""
    return list(map(str, error.absolute_path)), error.validator != "required"


def _expected_input(schema: Mapping[str, Any]) -> str:
    properties = as_mapping(schema.get("properties"))
    if not properties:
        return "see the workflow's `input` schema"
    required = as_list(schema.get("required"))
    names = [f"{name} (required)" if name in required else name for name in properties]
    return f"the input takes: {', '.join(names)}"


_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _mismatch(error: SchemaMismatch) -> str:
    """One mismatch: the field, what is expected, what was found."""
    place = _extend("", error.absolute_path)
    subject, found, wanted = place or "the value", _show(error.instance), error.validator_value
    match error.validator:
        case "required":
            given = as_mapping(error.instance)
            missing = [n for n in as_list(wanted) if n not in given and repr(n) in error.message]
            where = join(place, missing[0]) if missing else subject
            return f"{where} is missing"
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            words = _alternatives([_TYPE_WORDS.get(str(kind), str(kind)) for kind in kinds])
            return f"{subject} must be {words}; found {found}"
        case "enum":
            words = _alternatives([json.dumps(w, ensure_ascii=False) for w in as_list(wanted)])
            return f"{subject} must be {words}; found {found}"
        case "const":
            return f"{subject} must be {json.dumps(wanted, ensure_ascii=False)}; found {found}"
        case "additionalProperties" if wanted is False:
            schema = as_mapping(error.schema)
            known = as_mapping(schema.get("properties"))
            patterns = as_mapping(schema.get("patternProperties"))
            extra = [
                name
                for name in as_mapping(error.instance)
                if name not in known and not any(re.search(p, name) for p in patterns)
            ]
            return "; ".join(
                f"{join(place, name)} is unknown" + _in_brackets(_similar(name, known))
                for name in extra
            )
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            words = {
                "minimum": "at least",
                "exclusiveMinimum": "more than",
                "maximum": "at most",
                "exclusiveMaximum": "less than",
            }[str(error.validator)]
            return f"{subject} must be {words} {wanted}; found {found}"
        case "pattern":
            return f"{subject} must match the pattern {wanted!r}; found {found}"
        case "minItems" | "minLength" | "maxItems" | "maxLength":
            words = "at least" if str(error.validator).startswith("min") else "at most"
            what = "characters" if str(error.validator).endswith("Length") else "items"
            return f"{subject} must have {words} {wanted} {what}; found {found}"
        case "anyOf" | "oneOf":
            return f"{subject} fits none, or too many, of the forms that are allowed; found {found}"
    message = error.message if len(error.message) <= 200 else f"{error.message[:197]}..."
    return f"{subject} does not fit `{error.validator}`: {message}"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _extend(path: str, elements: Iterable[Any]) -> str:
    for element in elements:
        path = join(path, element if isinstance(element, int) else str(element))
    return path


def _schema_problems(schema: Mapping[str, Any]) -> tuple[tuple[tuple[Any, ...], str], ...]:
    return _validator(json.dumps(schema, sort_keys=True))[1]


@lru_cache(256)
def _validator(
    text: str,
) -> tuple[Draft202012Validator, tuple[tuple[tuple[Any, ...], str], ...]]:
    """A validator for a schema, as JSON, and path and reason of all that is wrong with it.

    Its references are looked up in the schema and the published drafts, never on the network.
    """
    schema = json.loads(text)
    meta = Draft202012Validator(
        Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    try:
        found = [(tuple(error.absolute_path), error.message) for error in meta.iter_errors(schema)]
    except RecursionError:
        found = [((), "it is nested too deeply")]
    problems = tuple(dict.fromkeys(found)) or tuple(_bad_references(schema))
    return Draft202012Validator(schema, registry=REGISTRY), problems


def _bad_references(schema: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    try:
        base = resource.id() or ""
        resolver = REGISTRY.with_resource(base, resource).resolver(base)
    except (Unresolvable, ValueError, TypeError, AttributeError) as error:
        yield (), f"its `$id` cannot be used: {error}"
        return
    work: list[tuple[tuple[Any, ...], Any]] = [((), schema)]
    while work:
        path, value = work.pop()
        items = value.items() if isinstance(value, dict) else enumerate(as_list(value))
        for key, item in items:
            if key in ("$ref", "$dynamicRef") and isinstance(item, str):
                try:
                    resolver.lookup(item)
                except (Unresolvable, ValueError, TypeError, AttributeError, KeyError):
                    yield (*path, key), f"{item!r} leads nowhere; references stay in the schema"
            elif key not in ("const", "enum", "default", "examples"):
                work.append(((*path, key), item))


# --- the language as a JSON Schema -----------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a definition, for editors.

    camelCase keys are `properties`, which editors complete; snake_case keys are
    `patternProperties`, which they accept in silence.
    """
    schema = WorkflowDefinition.model_json_schema(by_alias=True, mode="validation")
    for name, model in [*schema["$defs"].items(), ("WorkflowDefinition", schema)]:
        _polish(name, model)
    step = schema["$defs"]["WorkflowStep"]
    step["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind.value}}, "required": ["type"]},
            "then": {"required": [kind.value]},
        }
        for kind in StepType
        if kind is not StepType.TASK
    ]
    step["allOf"].append(
        {
            "if": {"properties": {"type": {"const": StepType.TASK.value}}},
            "then": {"oneOf": [{"required": ["capability"]}, {"required": ["task"]}]},
        }
    )
    return {
        "$schema": SCHEMA_ID,
        "$id": "urn:orch:workflow-definition",
        **schema,
        "title": "Workflow",
    }


def _polish(name: str, model: dict[str, Any]) -> None:
    properties = model.get("properties")
    if properties is None:
        model.pop("title", None)
        return
    model["title"] = name
    model.setdefault("description", _about(name))
    required = model.get("required", [])
    for key, value in list(properties.items()):
        value.pop("title", None)
        if snake(key) != key:
            model.setdefault("patternProperties", {})[f"^{snake(key)}$"] = value
            if key in required:
                required.remove(key)
                either = {"anyOf": [{"required": [key]}, {"required": [snake(key)]}]}
                model.setdefault("allOf", []).append(either)
    if model.get("required") == []:
        del model["required"]


def _about(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return f"The fields of a {words}."
