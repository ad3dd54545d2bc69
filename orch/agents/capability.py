"""A capability: a named function that workers do work with.

    @capability("resize_image")
    def resize(source: str, width: int = 800, context: Context | None = None) -> dict[str, Any]:
        ...

The function stays what it was; the registry of this process knows it by its name. Its
parameters are the contract: input is checked against their annotations, and a parameter
annotated with `Context` gets the attempt's context.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import os
import re
import threading
import typing
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from orch.agents.context import Context
from orch.agents.shell import ShellText
from orch.breaker import Breaker
from orch.errors import SettingsError, StepError
from orch.fallback import Fallback
from orch.workflows.expressions import Value

Function = TypeVar("Function", bound=Callable[..., Any])
Parts = Sequence[str | Value]
"""A text in which words and values alternate, in order."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NO_TEMPLATES: Mapping[str, Parts] = MappingProxyType({})
_capabilities: dict[str, Capability] = {}


class Capability:
    """A named function, with what is known of its input.

    name, description    the description is the function's docstring, unless given
    function             as it was written
    input_schema         JSON Schema of the input
    breaker              when its calls are stopped, if it has one
    fallback             what stands in for its output when it fails, if anything does
    needs_context        whether a call of it takes more of its `Context` than the default one
    template_parameters  parameters that take `ShellText`: the parts of a text, not its value
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        description: str = "",
        breaker: Breaker | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.breaker = breaker
        self.fallback = fallback
        self.description = description or inspect.getdoc(function) or ""
        hints = _annotations(name, function)
        parameters = inspect.signature(function).parameters.values()
        self._context_name = next((p.name for p in parameters if _has(hints[p.name], Context)), "")
        self.needs_context = bool(self._context_name) or inspect.iscoroutinefunction(function)
        taken = [p for p in parameters if p.name != self._context_name]
        self._positions = [p.name for p in taken if p.kind is not p.VAR_KEYWORD]
        shell = (p.name for p in taken if _has(hints[p.name], ShellText))
        self.template_parameters = frozenset(shell)
        self._input = _input_adapter(name, taken, hints)
        self.input_schema: dict[str, Any] = self._input.json_schema()
        self.input_schema["title"] = name

    def call(
        self,
        input: Mapping[str, Any] | list[Any] | None,
        context: Context,
        templates: Mapping[str, Parts] = _NO_TEMPLATES,
    ) -> Any:
        """Check the input, run the function, and give its result as a JSON value.

        input      arguments by name, or in order; None for none
        templates  for `template_parameters`: the parts that stand for the value in `input`

        Raises StepError `InvalidInput`, `OutputNotJSON`, or `Timeout` (an `async def` function
        that is still running at the deadline), and whatever the function raises.
        """
        arguments = self.validate(input, templates)
        if self._context_name:
            arguments[self._context_name] = context
        result = self.function(**arguments)
        if inspect.iscoroutine(result):
            result = _run_on_loop(result, self.name, context)
        return to_json_value(result, capability=self.name)

    def validate(
        self,
        input: Mapping[str, Any] | list[Any] | None,
        templates: Mapping[str, Parts] = _NO_TEMPLATES,
    ) -> dict[str, Any]:
        """The function's keyword arguments for an input. Raises StepError `InvalidInput`."""
        values = self._by_name(input)
        for name, parts in templates.items():
            values[name] = ShellText.from_parts(parts)
        try:
            return dict(self._input.validate_python(values))
        except ValidationError as exc:
            raise _invalid_input(self.name, exc) from None

    def _by_name(self, input: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
        if input is None:
            return {}
        if isinstance(input, Mapping):
            return dict(input)
        if not isinstance(input, list):
            raise StepError(
                "InvalidInput",
                f"capability {self.name!r} takes an object of named arguments, or a list of "
                f"them; found {_shown(input)}",
            )
        if len(input) > len(self._positions):
            raise StepError(
                "InvalidInput",
                f"capability {self.name!r} takes {len(self._positions)} arguments "
                f"({', '.join(self._positions) or 'none'}); found {len(input)}",
            )
        return dict(zip(self._positions, input, strict=False))

    def __repr__(self) -> str:
        return f"Capability({self.name!r}, {_place(self.function)})"


def capability(
    name: str,
    *,
    description: str = "",
    breaker: Breaker | None = None,
    fallback: Fallback | None = None,
) -> Callable[[Function], Function]:
    """Make a function, `def` or `async def`, the capability `name` of this process.

    ``breaker``: stops its calls while they fail too often; ``fallback``: what stands in for its
    output when they fail. Settings may say otherwise.

    Raises SettingsError for a name that is not one or belongs to another function, and for
    parameters that no JSON input can fill.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a capability",
            hint="a name is letters, digits, `_`, `.`, `-`, and starts with a letter or `_`; "
            'write `@capability("name")`',
        )

    def register(function: Function) -> Function:
        known = _capabilities.get(name)
        if known and _place(known.function) != _place(function):
            raise SettingsError(
                f"the capability {name!r} is defined twice: by {_place(known.function)} and by "
                f"{_place(function)}",
                hint="give one of them another name",
            )
        _capabilities[name] = Capability(name, function, description, breaker, fallback)
        return function

    return register


def registry() -> Mapping[str, Capability]:
    """The capabilities of this process, by name: a view, not a copy."""
    return MappingProxyType(_capabilities)


def get(name: str) -> Capability | None:
    return _capabilities.get(name)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


# Input -------------------------------------------------------------------------------------


def _annotations(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The type of each parameter. `Context` and `ShellText` may be imported for checkers only."""
    plain = inspect.unwrap(function)
    known = {"Context": Context, "ShellText": ShellText, **getattr(plain, "__globals__", {})}
    try:
        hints = typing.get_type_hints(plain, globalns=known, include_extras=True)
    except (NameError, TypeError) as exc:
        raise SettingsError(
            f"the annotations of capability {name!r} ({_place(function)}) cannot be read: {exc}",
            hint="import the types where the module runs, not under `if TYPE_CHECKING`",
        ) from exc
    return {p: hints.get(p, Any) for p in inspect.signature(function).parameters}


def _has(annotation: Any, wanted: type) -> bool:
    """Whether an annotation is `wanted`, or a union or alias with it."""
    return annotation is wanted or any(_has(a, wanted) for a in typing.get_args(annotation))


def _input_adapter(
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
        shown = to_json_value(default)
    except StepError:
        return annotation
    return Annotated[annotation, Field(json_schema_extra={"default": shown})]


def _invalid_input(name: str, exc: ValidationError) -> StepError:
    """One clause per field; the members of a union are put together."""
    expected: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    for error in exc.errors(include_url=False, include_context=False):
        kind, place = error["type"], error["loc"]
        field = str(place[0]) if place else "input"
        inner = [str(part) for part in place[1:] if isinstance(part, int)]
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
    clauses = [_clause(where, wants, found) for where, wants in expected.items()]
    data = [{"field": where, "expected": " or ".join(wants)} for where, wants in expected.items()]
    sentence = f"capability {name!r} cannot take this input: {'; '.join(clauses)}"
    return StepError("InvalidInput", sentence, data=data)


def _clause(where: str, wants: list[str], found: Mapping[str, Any]) -> str:
    if wants == ["missing"]:
        return f"{where!r} is missing"
    if wants == ["unknown"]:
        return f"there is no parameter {where!r}"
    return f"{where!r} is {_shown(found[where])}, expected {' or '.join(wants)}"


def _shown(value: Any) -> str:
    shown = "null" if value is None else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{shown} ({type(value).__name__})" if value is not None else shown


# Running ------------------------------------------------------------------------------------


class _Loop:
    """The event loop of this process, on a daemon thread. A forked child makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="orch-async", daemon=True).start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_loop: _Loop | None = None
_loop_lock = threading.Lock()


def _new_lock_after_fork() -> None:
    # A fork while another thread held the lock would leave it locked for ever in the child.
    global _loop_lock
    _loop_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)


def _event_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _loop_lock:
        if _loop is None or _loop.pid != os.getpid():
            _loop = _Loop()
        return _loop.loop


def _run_on_loop(coroutine: Coroutine[Any, Any, Any], name: str, context: Context) -> Any:
    future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, _event_loop())
    try:
        return future.result(context.remaining())
    except TimeoutError:
        if future.done():  # the coroutine's own
            raise
        raise StepError(
            "StepTimeout", f"capability {name!r} was still running at the deadline of its attempt"
        ) from None
    finally:
        future.cancel()


# Output -------------------------------------------------------------------------------------


def to_json_value(value: Any, *, capability: str = "") -> Any:
    """A result as JSON: models, dataclasses, dates, paths, sets and the like are turned.

    Raises StepError `OutputNotJSON`, which names the capability, the type and the place.
    """
    try:
        return _json(value)
    except (ValueError, TypeError, RecursionError) as exc:
        place, culprit, reason = _fault(value, "$.output", exc)
    whose = f"the output of capability {capability!r}" if capability else "the value"
    raise StepError(
        "OutputNotJSON",
        f"{whose} is not JSON: at {place} there is {type(culprit).__module__}."
        f"{type(culprit).__qualname__}{reason}",
        hint="return dicts, lists, texts, numbers, dataclasses or pydantic models",
    )


_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def _json(value: Any) -> Any:
    if value is None:
        return None
    plain = to_jsonable_python(value, fallback=_unknown)
    # Refuses NaN, infinities and halves of surrogate pairs, at C speed.
    _STRICT.encode(plain).encode()
    return plain


def _unknown(value: Any) -> Any:
    if isinstance(value, PurePath):  # pydantic knows only paths of this system
        return str(value)
    raise TypeError(f"no JSON for {type(value)}")


def _fault(value: Any, place: str, exc: Exception) -> tuple[str, Any, str]:
    """The innermost part of a value that is not JSON, and why."""
    if isinstance(exc, RecursionError) or str(exc).startswith(("Circular", "Maximum")):
        return place, value, ", which contains itself or is nested too deeply"
    for step, part in _parts(value):
        try:
            _json(part)
        except (ValueError, TypeError, RecursionError) as inner:
            return _fault(part, place + step, inner)
    if isinstance(value, float):
        return place, value, f" {value}, which JSON cannot hold"
    if isinstance(value, Mapping):
        return place, value, f" with a key that cannot be one: {exc}"
    if isinstance(exc, UnicodeError):
        return place, value, f": {exc}"
    return place, value, ""


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        return [(f".{name}", part) for name, part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(f".{name}", getattr(value, name)) for name in names]
    if isinstance(value, Mapping):
        return [(f".{key}", part) for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    return []
