"""JSON Schemas: whether one is valid, and the validator for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # ships none
from referencing import Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from orch.workflows.graph import as_list


def schema_problems(schema: Mapping[str, Any]) -> tuple[tuple[tuple[Any, ...], str], ...]:
    return validator_of(json.dumps(schema, sort_keys=True))[1]


@lru_cache(256)
def validator_of(
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
