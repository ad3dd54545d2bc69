"""The types that are declared for what a capability takes and gives, with `input=`, `output=`."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from typing_extensions import is_typeddict

from orch.agents.arguments import Parts, invalid_input, misfit
from orch.errors import SettingsError, StepError


class InputShape:
    """An input that is checked as one value of a type.

    A function with one parameter that is no field of the type gets it whole; the fields are the
    arguments by name else. Raises SettingsError where those do not fit.
    """

    template_parameters: frozenset[str] = frozenset()
    """A parameter that takes `ShellText` is one of a function without a declared input."""

    def __init__(self, name: str, shape: Any, parameters: Sequence[inspect.Parameter]) -> None:
        self.name = name
        self.adapter = adapter_of(name, "input", shape)
        self.fields = fields_of(shape)
        own = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        self.whole = own[0].name if len(own) == 1 and own[0].name not in self.fields else ""
        if not self.whole:
            _check_taken(name, shape, self.fields, parameters)

    def validate(self, input: Any, templates: Mapping[str, Parts]) -> dict[str, Any]:
        """The function's keyword arguments. Raises StepError `InvalidInput`."""
        del templates
        if isinstance(input, list) and self.fields:
            input = dict(zip(self.fields, input, strict=False))
        elif input is None and self.fields:
            input = {}
        try:
            value = self.adapter.validate_python(input)
        except ValidationError as exc:
            raise invalid_input(self.name, exc) from None
        if self.whole:
            return {self.whole: value}
        if isinstance(value, Mapping):
            return dict(value)
        return {field: getattr(value, field) for field in self.fields}


class OutputShape:
    """What a capability gives is checked against a type, and turned into it."""

    def __init__(self, name: str, shape: Any) -> None:
        self.name = name
        self.adapter = adapter_of(name, "output", shape)

    def validate(self, output: Any) -> Any:
        """Raises StepError `InvalidOutput`, with each field, what was found and expected."""
        try:
            return self.adapter.validate_python(output)
        except ValidationError as exc:
            clauses, data = misfit(exc, "output")
        sentence = f"what capability {self.name!r} gives is not what it declares: {clauses}"
        raise StepError("InvalidOutput", sentence, data=data)


def declared_output(output: Any, annotation: Any) -> Any:
    """The type to check against: the declared one, or the annotation where it is a model."""
    if output is not None:
        return output
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def schema_of(annotation: Any) -> dict[str, Any] | None:
    """JSON Schema of what an annotation says is returned; None: it says nothing that is JSON."""
    if annotation in (None, Any):
        return None
    try:
        return TypeAdapter(annotation).json_schema(mode="serialization")
    except (PydanticUserError, PydanticInvalidForJsonSchema, TypeError):
        return None


def adapter_of(name: str, what: str, shape: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(shape)
    except PydanticUserError as exc:
        raise SettingsError(
            f"`{what}` of capability {name!r} cannot be checked: {exc.message}",
            hint="name a pydantic model, a dataclass, or a type that JSON can fill",
        ) from exc


def fields_of(shape: Any) -> list[str]:
    """The names of the fields of a type, in order; none: it is no object with named fields."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return list(shape.model_fields)
    if dataclasses.is_dataclass(shape):
        return [field.name for field in dataclasses.fields(shape)]
    return list(typing.get_type_hints(shape)) if is_typeddict(shape) else []


def _check_taken(
    name: str, shape: Any, fields: Sequence[str], parameters: Sequence[inspect.Parameter]
) -> None:
    """Whether the function takes what the type may give, and needs nothing else."""
    title = getattr(shape, "__name__", str(shape))
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
    own = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    untaken = [] if takes_more else [field for field in fields if field not in own]
    needed = [n for n, p in own.items() if p.default is p.empty and n not in fields]
    if fields and not untaken and not needed:
        return
    if untaken:
        wrong = f"has the field {untaken[0]!r}, which is no parameter"
    else:
        wrong = f"has no field {needed[0]!r}" if fields else "has no named fields"
    raise SettingsError(
        f"the function of capability {name!r} does not take its `input`: {title} {wrong}",
        hint="give it one parameter for the whole input, or one for each field",
    )
