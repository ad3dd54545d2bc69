"""A capability: a named function that workers do work with.

    @capability("resize_image")
    def resize(source: str, width: int = 800, context: Context | None = None) -> dict[str, Any]:
        ...

The function stays what it was; the registry of this process knows it by its name. Its
parameters are the contract: input is checked against their annotations, and a parameter
annotated with `Context` gets the attempt's context.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from orch.agents.arguments import has, input_adapter, invalid_input, place_of, shown, types_of
from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.loop import run_on_loop
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
        hints = types_of(name, function)
        parameters = inspect.signature(function).parameters.values()
        self._context_name = next((p.name for p in parameters if has(hints[p.name], Context)), "")
        self.needs_context = bool(self._context_name) or inspect.iscoroutinefunction(function)
        taken = [p for p in parameters if p.name != self._context_name]
        self._positions = [p.name for p in taken if p.kind is not p.VAR_KEYWORD]
        shell = (p.name for p in taken if has(hints[p.name], ShellText))
        self.template_parameters = frozenset(shell)
        self._input = input_adapter(name, taken, hints)
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
            result = run_on_loop(result, self.name, context)
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
            raise invalid_input(self.name, exc) from None

    def _by_name(self, input: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
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

    def __repr__(self) -> str:
        return f"Capability({self.name!r}, {place_of(self.function)})"


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
        if known and place_of(known.function) != place_of(function):
            raise SettingsError(
                f"the capability {name!r} is defined twice: by {place_of(known.function)} and by "
                f"{place_of(function)}",
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
