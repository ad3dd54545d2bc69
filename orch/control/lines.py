"""Executions as JSON lines: what `orch export` and the archive write, and `orch import` reads.

A line is an object: ``{"execution": id, "record", "steps", "items", "history"}``, with ``"logs"``
where its steps logged something, or what those need to be shown: ``{"plan": key, "content"}``,
``{"definition": version, "content"}``. Texts of the journal that are JSON stand there as JSON;
those that would not come back as the same text, but for the escaping of letters, stand there as
text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from orch.journal.journal import Journal
from orch.journal.snapshots import Snapshot
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.state import ExecutionStatus, encode

NEEDED = ("status", "workflow", "version", "plan", "created")


class BadLine(ValueError):
    """A line is none of these."""


@dataclass(frozen=True)
class Definition:
    version: str
    text: str


@dataclass(frozen=True)
class PlanText:
    key: str
    text: str


Content = Snapshot | Definition | PlanText


def line_of(content: Content) -> str:
    """Without the end of the line."""
    match content:
        case Definition(version, text):
            return encode({"definition": version, "content": _packed(text)})
        case PlanText(key, text):
            return encode({"plan": key, "content": _packed(text)})
    found = {
        "execution": content.id,
        "record": _packed_all(content.record),
        "steps": _packed_all(content.steps),
        "items": _packed_all(content.items),
        "history": [_packed(text) for text in content.history],
    }
    if content.logs:
        found["logs"] = [_packed(text) for text in content.logs]
    return encode(found)


def content_of(line: bytes) -> Content:
    """Raises BadLine, which says what is wrong."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise BadLine(f"it is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise BadLine("it is no object")
    try:
        if "definition" in found:
            return _definition(found["definition"], _text(found["content"]))
        if "plan" in found:
            return _plan(found["plan"], _text(found["content"]))
        return _snapshot(found)
    except KeyError as exc:
        raise BadLine(f"it has no field {exc}") from exc
    except (AttributeError, TypeError) as exc:
        raise BadLine(f"it is not of the form that `orch export` writes: {exc}") from exc


def needed_by(journal: Journal, snapshot: Snapshot, told: set[str]) -> Iterator[Content]:
    """The plan and the definitions of an execution, but for those that are in ``told``."""
    key, versions = snapshot.record["plan"], {snapshot.record["version"]}
    if f"plan {key}" in told:
        return
    text = journal.read_plan(key)
    if text is not None:
        content = json.loads(text)
        versions |= {content["version"], *content["handlers"].values()}
    for version in sorted(versions):
        if version not in told and (definition := journal.read_definition(version)) is not None:
            told.add(version)
            yield Definition(version, definition)
    told.add(f"plan {key}")
    if text is not None:
        yield PlanText(key, text)


def _definition(version: Any, text: str) -> Definition:
    try:
        made = WorkflowDefinition.model_validate_json(text)
    except ValueError as exc:
        raise BadLine(f"its definition is none: {str(exc).splitlines()[0]}") from exc
    if made.content_hash() != version:
        raise BadLine(f"its definition is {made.content_hash()}, not {version}")
    return Definition(version, text)


def _plan(key: Any, text: str) -> PlanText:
    content = json.loads(text)
    if not isinstance(key, str) or not isinstance(content["version"], str):
        raise BadLine("its plan names no version")
    content["handlers"].values()
    return PlanText(key, text)


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    id, record = found["execution"], _texts(found["record"])
    if not isinstance(id, str) or not id or " " in id:
        raise BadLine(f"{id!r} is no id of an execution")
    for name in NEEDED:
        if name not in record:
            raise BadLine(f"its record has no {name!r}")
    if record["status"] not in {status.value for status in ExecutionStatus}:
        raise BadLine(f"{record['status']!r} is no status that this release knows")
    if not record["created"].isdigit():
        raise BadLine("its record does not say when it was created")
    history = [_text(event) for event in found["history"]]
    logs = [_text(line) for line in found.get("logs", ())]
    return Snapshot(id, record, _texts(found["steps"]), _texts(found["items"]), history, logs)


def _packed_all(texts: Mapping[str, str]) -> dict[str, Any]:
    return {name: _packed(text) for name, text in texts.items()}


def _packed(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
        same = text in (encode(value), json.dumps(value, separators=(",", ":")))
        return value if same and not isinstance(value, str) else text
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value)
