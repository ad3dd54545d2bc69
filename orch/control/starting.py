"""What a new execution is made of, whoever starts it."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from orch.errors import InputError, StepError
from orch.journal.heads import attribute_text
from orch.journal.journal import Journal, Start
from orch.journal.spending import PROJECT
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.gates import Slots, is_gated, make_gates
from orch.workflows.paths import ROOT
from orch.workflows.plan import Plan
from orch.workflows.starts import Scalar, StartOptions, checked_attributes, key_text
from orch.workflows.state import encode
from orch.workflows.transition import begin, begins_plainly
from orch.workflows.validation import check_input
from orch.workflows.view import View, context_of

NOW = StartOptions()


START_PATIENCE = 5.0
"""Seconds for which a start is repeated while Redis is away."""


@dataclass(frozen=True)
class Started:
    """An execution that was started, or was there already. ``warnings`` are sentences."""

    id: str
    workflow: str
    version: str
    existed: bool = False
    warnings: tuple[str, ...] = ()


def execution_id(key: str, idempotency_key: str | None) -> str:
    """16 hex digits: random, or a hash of the workflow's name and the caller's key."""
    if idempotency_key is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{key}\0{idempotency_key}".encode()).hexdigest()[:16]


def make_start(
    journal: Journal,
    plan: Plan,
    key: str,
    execution: str,
    input: str,
    *,
    idempotency_key: str | None = None,
    parent: Call | None = None,
    depth: int = 0,
    deadline: int = 0,
    options: StartOptions = NOW,
    gated: bool = True,
    now: int = 0,
) -> Start:
    """The start of an execution of ``key``. ``input``: JSON text.

    ``deadline``: ms, where one is set from outside; the earliest of it, of the options' and of
    `timeoutMs` counts. ``gated``: False where it has not to wait for others, as in a simulation.
    ``now``: ms, 0: as the clock says. Raises InputError where an attribute, or a key, cannot be
    one.
    """
    now = now or journal.clock()
    view = View(execution, key, input=json.loads(input))
    attributes = attributes_of(plan, view, options)
    if options.project:
        attributes = {**attributes, PROJECT: options.project}
    later = options.at > now
    own = concurrency_key(plan, view, options)
    gates = make_gates(plan.definition, key, own)
    slots = Slots(gates, now) if gates and gated else None
    transition = None if later or slots else begin(plan, view, now, journal.grace)
    deadline = earliest(deadline, options.deadline)
    if transition is not None:
        deadline = 0 if transition.end else deadline_of(plan, now, deadline, options.within)
    return Start(
        id=execution,
        workflow=key,
        version=plan.version,
        plan=plan.key,
        input=input,
        transition=transition,
        deadline=deadline,
        idempotency_key=idempotency_key,
        parent=parent,
        depth=depth,
        at=options.at if later else 0,
        until=options.deadline,
        within=options.within,
        attributes=attributes,
        priority=plan.definition.priority if options.priority is None else options.priority,
        project=attribute_text(attributes.get(PROJECT, "")).strip(),
        slots=slots,
        traceparent=options.traceparent,
    )


def begins_alike(plan: Plan) -> bool:
    """Whether executions of a plan differ, when they begin, by their ids, instant and input alone.

    Where one must have ended by an instant of its own, that is one more.
    """
    asks = plan.attributes is not None or plan.concurrency_key is not None
    definition = plan.definition
    return not (asks or is_gated(definition) or definition.timeout_ms) and begins_plainly(plan)


def deadline_of(plan: Plan, begun: int, deadline: int, within: int) -> int:
    """When an execution must have ended: at its instant, or its limits after its beginning."""
    limit = earliest(plan.definition.timeout_ms or 0, within)
    return earliest(deadline, begun + limit if limit else 0)


def earliest(*instants: int) -> int:
    """The smallest of those that are not 0; 0 where all are."""
    return min((each for each in instants if each), default=0)


def attributes_of(plan: Plan, view: View, options: StartOptions) -> dict[str, Scalar]:
    """The attributes of the definition, and those of the call, which go before."""
    if plan.attributes is None:
        return dict(options.attributes)
    try:
        own = plan.attributes.evaluate(context_of(view, plan.scopes[ROOT].entry.id))
    except StepError as error:
        raise InputError(f"an attribute of the workflow cannot be told: {error.message}") from error
    found = {name: value for name, value in own.items() if value is not None}
    return checked_attributes({**found, **options.attributes})


def concurrency_key(plan: Plan, view: View, options: StartOptions) -> str | None:
    """The key of the call, else that of the definition; None: it has none."""
    if options.concurrency_key is not None or plan.concurrency_key is None:
        return options.concurrency_key
    try:
        told = plan.concurrency_key.evaluate(context_of(view, plan.scopes[ROOT].entry.id))
    except StepError as error:
        raise InputError(f"the concurrency key cannot be told: {error.message}") from error
    return key_text(told)


def checked_input(settings: Settings, key: str, definition: WorkflowDefinition, input: Any) -> str:
    """The input as JSON text. Raises InputError where it misses the schema, or is too large."""
    if definition.input is not None:
        check_input(definition, {} if input is None else input)
    return check_json(settings, f"the input of workflow {key!r}", input)


def check_json(settings: Settings, what: str, value: Any) -> str:
    """A value as JSON text. Raises InputError where it is none, or too large."""
    try:
        text = encode(value)
        if "NaN" in text or "Infinity" in text:  # or a text that says so
            json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InputError(f"{what} is not JSON: {exc}") from exc
    limit = settings.output_limit
    if len(text.encode()) > limit:
        raise InputError(
            f"{what} has {len(text.encode())} bytes of JSON, and {limit} are allowed",
            hint="store it elsewhere and pass its place, or raise ORCH_OUTPUT_LIMIT",
        )
    return text
