"""What a new execution is made of, whoever starts it."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from orch.errors import InputError
from orch.journal.journal import Journal, Start
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.plan import Plan
from orch.workflows.state import encode
from orch.workflows.transition import begin
from orch.workflows.validation import check_input
from orch.workflows.view import View


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
) -> Start:
    """The start of an execution of ``key``. ``input``: JSON text.

    ``deadline``: ms, where one is set from outside; the earlier of it and `timeoutMs` counts.
    """
    now = journal.clock()
    view = View(execution, key, input=json.loads(input))
    transition = begin(plan, view, now, journal.grace)
    timeout = plan.definition.timeout_ms
    if timeout:
        deadline = min(deadline, now + timeout) if deadline else now + timeout
    return Start(
        id=execution,
        workflow=key,
        version=plan.version,
        plan=plan.key,
        input=input,
        transition=transition,
        deadline=0 if transition.end else deadline,
        idempotency_key=idempotency_key,
        parent=parent,
        depth=depth,
    )


def checked_input(settings: Settings, key: str, definition: WorkflowDefinition, input: Any) -> str:
    """The input as JSON text. Raises InputError where it misses the schema, or is too large."""
    if definition.input is not None:
        check_input(definition, {} if input is None else input)
    return check_json(settings, f"the input of workflow {key!r}", input)


def check_json(settings: Settings, what: str, value: Any) -> str:
    """A value as JSON text. Raises InputError where it is none, or too large."""
    try:
        text = encode(value)
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


def execution_id(key: str, idempotency_key: str | None) -> str:
    """16 hex digits: random, or a hash of the workflow's name and the caller's key."""
    if idempotency_key is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{key}\0{idempotency_key}".encode()).hexdigest()[:16]
