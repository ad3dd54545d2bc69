"""The language of definitions as a JSON Schema, for editors."""

from __future__ import annotations

import re
from typing import Any

from orch.workflows.definition import StepType, WorkflowDefinition
from orch.workflows.graph import snake
from orch.workflows.ladder import BARE

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a definition, for editors.

    camelCase keys are `properties`, which editors complete; snake_case keys are
    `patternProperties`, which they accept in silence.
    """
    schema = WorkflowDefinition.model_json_schema(by_alias=True, mode="validation")
    for name, model in [*schema["$defs"].items(), ("WorkflowDefinition", schema)]:
        _polish(name, model)
    schema["$defs"]["Rung"] = _rung(schema["$defs"]["Rung"])
    step = schema["$defs"]["WorkflowStep"]
    _allow_in_files(schema, step)
    step["allOf"] = [
        {
            "if": {
                "properties": {"type": {"const": kind.value}, "use": False},
                "required": ["type"],
            },
            "then": {"required": [kind.value]},
        }
        for kind in StepType
        if kind is not StepType.TASK
    ]
    step["allOf"].append(
        {
            "if": {"properties": {"type": {"const": StepType.TASK.value}, "use": False}},
            "then": {"oneOf": [{"required": ["capability"]}, {"required": ["task"]}]},
        }
    )
    return {
        "$schema": SCHEMA_ID,
        "$id": "urn:orch:workflow-definition",
        **schema,
        "title": "Workflow",
    }


def _allow_in_files(schema: dict[str, Any], step: dict[str, Any]) -> None:
    """What stands in files alone, and is gone when they are loaded."""
    schema["properties"]["parameters"] = {
        "description": "Values that are filled in for `{{ name }}`: JSON Schemas by name.",
        "type": "object",
        "additionalProperties": {"type": "object"},
    }
    schema["properties"]["include"] = {
        "description": "Files of steps, relative to this one, for `use`.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    step["properties"]["use"] = {
        "description": "The id of an included step that this one is; fields beside it go before.",
        "type": "string",
    }
    step["required"] = []
    step["anyOf"] = [{"required": ["id"]}, {"required": ["use"]}]


def _rung(model: dict[str, Any]) -> dict[str, Any]:
    """A bare word, or one key with what it needs."""
    about = {name: model.pop(name) for name in ("title", "description")}
    one = {**model, "minProperties": 1, "maxProperties": 1}
    return {**about, "anyOf": [{"enum": list(BARE)}, one]}


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
