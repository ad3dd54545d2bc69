"""Input and output of an execution against the schemas of its workflow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import ValidationError as SchemaMismatch
from referencing.exceptions import Unresolvable

from orch.errors import InputError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.graph import as_list, as_mapping, join
from orch.workflows.validation.schemas import schema_problems, validator_of
from orch.workflows.validation.wording import alternatives, extend, show, similar

_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


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


def sentences_of(schema: Mapping[str, Any], value: Any) -> list[str]:
    """A sentence for every way in which a value, or its schema, is wrong."""
    problems = [f"its schema is wrong: {message}" for _, message in schema_problems(schema)]
    return problems or _misses(schema, value)


def _misses(schema: Mapping[str, Any], value: Any) -> list[str]:
    text = json.dumps(schema, sort_keys=True)
    validator, problems = validator_of(text)
    if problems:
        path, message = problems[0]
        return [f"the schema itself is not valid, at {extend('', path) or 'its root'}: {message}"]
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


def _mismatch(error: SchemaMismatch) -> str:
    """One mismatch: the field, what is expected, what was found."""
    place = extend("", error.absolute_path)
    subject, found, wanted = place or "the value", show(error.instance), error.validator_value
    match error.validator:
        case "required":
            given = as_mapping(error.instance)
            missing = [n for n in as_list(wanted) if n not in given and repr(n) in error.message]
            where = join(place, missing[0]) if missing else subject
            return f"{where} is missing"
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            words = alternatives([_TYPE_WORDS.get(str(kind), str(kind)) for kind in kinds])
            return f"{subject} must be {words}; found {found}"
        case "enum":
            words = alternatives([json.dumps(w, ensure_ascii=False) for w in as_list(wanted)])
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
                f"{join(place, name)} is unknown" + _in_brackets(similar(name, known))
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
