"""The input of a capability: what its function's parameters say of it, and what does not fit."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.shell import ShellText
from orch.errors import SettingsError, StepError
from orch.workflows.expressions import Value

Parts = Sequence[str | Value]
"""A text in which words and values alternate, in order."""


class Arguments:
    """An input that is checked by the annotations of the function's parameters."""

    def __init__(
        self, name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.adapter = input_adapter(name, parameters, hints)
        self._positions = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
        self.template_parameters = frozenset(
            p.name for p in parameters if has(hints[p.name], ShellText)
        )

    def validate(self, input: Any, templates: Mapping[str, Parts]) -> dict[str, Any]:
        """The function's keyword arguments. Raises StepError `InvalidInput`."""
        values = self._by_name(input)
        for name, parts in templates.items():
            values[name] = ShellText.from_parts(parts)
        try:
            return dict(self.adapter.validate_python(values))
        except ValidationError as exc:
            raise invalid_input(self.name, exc) from None

    def _by_name(self, input: Any) -> dict[str, Any]:
        if input is None:
            return {}
        if isinstance(input, Mapping):
            return dict(input)
        if not isinstance(input, list):
            raise StepError(
                "InvalidInput",
                f"capability {self.name!r} takes an object of named arguments, or a list of "
                f"them; found {shown(input)}",
            )
        if len(input) > len(self._positions):
            raise StepError(
                "InvalidInput",
                f"capability {self.name!r} takes {len(self._positions)} arguments "
                f"({', '.join(self._positions) or 'none'}); found {len(input)}",
            )
        return dict(zip(self._positions, input, strict=False))


def place_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def types_of(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The type of each parameter, and of what is returned, as `return`.

    `Context` and `ShellText` may be imported for checkers only.
    """
    plain = inspect.unwrap(function)
    known = {"Context": Context, "ShellText": ShellText, **getattr(plain, "__globals__", {})}
    try:
        hints = typing.get_type_hints(plain, globalns=known, include_extras=True)
    except (NameError, TypeError) as exc:
        raise SettingsError(
            f"the annotations of capability {name!r} ({place_of(function)}) cannot be read: {exc}",
            hint="import the types where the module runs, not under `if TYPE_CHECKING`",
        ) from exc
    types = {p: hints.get(p, Any) for p in inspect.signature(function).parameters}
    return {**types, "return": hints.get("return")}


def has(annotation: Any, wanted: type) -> bool:
    """Whether an annotation is `wanted`, or a union or alias with it."""
    return annotation is wanted or any(has(a, wanted) for a in typing.get_args(annotation))


def input_adapter(
    name: str, parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any]
) -> TypeAdapter[Any]:
    fields: dict[str, Any] = {}
    extra: typing.Literal["allow", "forbid"] = "forbid"
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise SettingsError(
                f"capability {name!r} has the parameter {str(parameter)!r}, which cannot be "
                "given by name",
                hint="use ordinary parameters, a list, or `**more`",
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        annotation = hints[parameter.name]
        if parameter.default is not parameter.empty:
            annotation = NotRequired[_with_default(annotation, parameter.default)]
        fields[parameter.name] = annotation
    shape = TypedDict("Input", fields)  # type: ignore[misc]  # the fields are known at run time
    try:
        return TypeAdapter(with_config(ConfigDict(extra=extra))(shape))
    except PydanticUserError as exc:
        raise SettingsError(
            f"the parameters of capability {name!r} cannot be checked: {exc.message}",
            hint="annotate them with types that JSON can fill",
        ) from exc


def _with_default(annotation: Any, default: Any) -> Any:
    """Shows a default in the schema; the function itself fills it in."""
    try:
        value = to_json_value(default)
    except StepError:
        return annotation
    return Annotated[annotation, Field(json_schema_extra={"default": value})]


def invalid_input(name: str, exc: ValidationError) -> StepError:
    clauses, data = misfit(exc, "input")
    sentence = f"capability {name!r} cannot take this input: {clauses}"
    return StepError("InvalidInput", sentence, data=data)


_TYPE_NAMES = frozenset(
    (
        *("any", "bool", "bytes", "callable", "complex", "date", "datetime", "decimal", "dict"),
        *("float", "frozenset", "int", "json", "list", "model", "none", "set", "str", "time"),
        *("timedelta", "tuple", "url", "uuid"),
    )
)


def misfit(exc: ValidationError, whole: str) -> tuple[str, list[dict[str, str]]]:
    """One clause per field, and the same as data; the members of a union are put together.

    ``whole``: what the value is called where the fault is that of no field.
    """
    expected: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    for error in exc.errors(include_url=False, include_context=False):
        kind, place = error["type"], error["loc"]
        field = str(place[0]) if place else whole
        inner = [str(part) for part in place[1:] if _is_place(part)]
        where = ".".join([field, *inner])
        wanted = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if kind == "missing" and len(place) == 1:
            wanted = "missing"
        elif kind == "extra_forbidden":
            wanted = "unknown"
        else:
            found[where] = error["input"]
        if wanted not in expected.setdefault(where, []):
            expected[where].append(wanted)
    clauses = [_clause(whole, where, wants, found) for where, wants in expected.items()]
    data = [{"field": where, "expected": " or ".join(wants)} for where, wants in expected.items()]
    return "; ".join(clauses), data


def _is_place(part: int | str) -> bool:
    """Whether a part of pydantic's location is an index or a field, and not a member of a union,
    which it names by its type: `str`, `list[int]`, `function-plain[…]`, `Order`."""
    if isinstance(part, int):
        return True
    return part.isidentifier() and not part[:1].isupper() and part not in _TYPE_NAMES


def _clause(whole: str, where: str, wants: list[str], found: Mapping[str, Any]) -> str:
    if wants == ["missing"]:
        return f"{where!r} is missing"
    if wants == ["unknown"]:
        return f"there is no {'parameter' if whole == 'input' else 'field'} {where!r}"
    return f"{where!r} is {shown(found[where])}, expected {' or '.join(wants)}"


def shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{text} ({type(value).__name__})" if value is not None else text
