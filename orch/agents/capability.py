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
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from orch.agents.arguments import Arguments, Parts, has, place_of, types_of
from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.loop import run_on_loop
from orch.agents.shapes import InputShape, OutputShape, declared_output, schema_of
from orch.breaker import Breaker
from orch.errors import SettingsError
from orch.fallback import Fallback
from orch.workflows.declared import FIRST_VERSION, Declared
from orch.workflows.definition import RetryPolicy

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NO_TEMPLATES: Mapping[str, Parts] = MappingProxyType({})
_capabilities: dict[str, Capability] = {}


class Capability:
    """A named function, with what is known of its input.

    name, description    the description is the function's docstring, unless given
    function             as it was written
    declared             version, timeout, retry, cost, limits; see `Declared`
    input_schema         JSON Schema of the input
    output_schema        JSON Schema of the output, where it is declared or annotated with a model
    breaker              when its calls are stopped, if it has one
    fallback             what stands in for its output when it fails, if anything does
    spends               whether its calls use what a budget bounds, beside its `cost`
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
        declared: Declared | None = None,
        input: Any = None,
        output: Any = None,
        spends: bool = False,
    ) -> None:
        self.name = name
        self.function = function
        self.breaker = breaker
        self.fallback = fallback
        self.declared = declared or Declared()
        self.description = description or inspect.getdoc(function) or ""
        hints = types_of(name, function)
        parameters = inspect.signature(function).parameters.values()
        self._context_name = next((p.name for p in parameters if has(hints[p.name], Context)), "")
        self.needs_context = bool(self._context_name) or inspect.iscoroutinefunction(function)
        self.needs_context = self.needs_context or self.declared.cost is not None
        self.spends = spends
        taken = [p for p in parameters if p.name != self._context_name]
        self._input: Arguments | InputShape
        if input is None:
            self._input = Arguments(name, taken, hints)
        else:
            self._input = InputShape(name, input, taken)
        self.template_parameters = self._input.template_parameters
        self.input_schema: dict[str, Any] = self._input.adapter.json_schema()
        self.input_schema["title"] = name
        self._returns = hints.get("return")
        shape = declared_output(output, self._returns)
        self._output = None if shape is None else OutputShape(name, shape)
        self.output_schema: dict[str, Any] | None = None
        if self._output is not None:
            self.output_schema = self._output.adapter.json_schema(mode="serialization")

    @property
    def version(self) -> str:
        return self.declared.version

    @property
    def cost(self) -> float | None:
        return self.declared.cost

    @property
    def concurrency(self) -> int | None:
        return self.declared.concurrency

    @property
    def rate_limit(self) -> str | None:
        return self.declared.rate_limit

    def call(
        self,
        input: Mapping[str, Any] | list[Any] | None,
        context: Context,
        templates: Mapping[str, Parts] = _NO_TEMPLATES,
    ) -> Any:
        """Check the input, run the function, and give its result as a JSON value.

        input      arguments by name, or in order; None for none
        templates  for `template_parameters`: the parts that stand for the value in `input`

        Raises StepError `InvalidInput`, `InvalidOutput`, `OutputNotJSON`, or `StepTimeout` (an
        `async def` function that is still running at the deadline), and whatever the function
        raises.
        """
        arguments = self.validate(input, templates)
        if self._context_name:
            arguments[self._context_name] = context
        result = self.function(**arguments)
        if inspect.iscoroutine(result):
            result = run_on_loop(result, self.name, context)
        if self._output is not None:
            result = self._output.validate(result)
        return to_json_value(result, capability=self.name)

    def validate(
        self,
        input: Mapping[str, Any] | list[Any] | None,
        templates: Mapping[str, Parts] = _NO_TEMPLATES,
    ) -> dict[str, Any]:
        """The function's keyword arguments for an input. Raises StepError `InvalidInput`."""
        return self._input.validate(input, templates)

    def as_dict(self) -> dict[str, Any]:
        """What is published of it, as JSON."""
        return {
            **self.declared.as_dict(),
            "description": self.description,
            "input": self.input_schema,
            "output": self.output_schema or schema_of(self._returns),
        }

    def __repr__(self) -> str:
        return f"Capability({self.name!r}, {place_of(self.function)})"


def capability(
    name: str,
    *,
    description: str = "",
    version: str = FIRST_VERSION,
    input: Any = None,
    output: Any = None,
    timeout: float | None = None,
    retry: RetryPolicy | Mapping[str, Any] | None = None,
    cost: float | None = None,
    concurrency: int | None = None,
    rate_limit: str | None = None,
    idempotent: bool = True,
    spends: bool = False,
    breaker: Breaker | None = None,
    fallback: Fallback | None = None,
) -> Callable[[Function], Function]:
    """Make a function, `def` or `async def`, the capability `name` of this process.

    ``input``, ``output``: types that its input and output are checked against, pydantic models
    for instance; by default the annotations of its parameters, and a model that it returns.
    ``timeout`` (s) and ``retry``: of steps that do not say; ``version``, ``cost``,
    ``concurrency``, ``rate_limit`` and ``idempotent``: see `Declared`.
    ``spends``: it uses what a budget bounds, and says so by `context.use`, so that it does not
    begin where nothing is left.
    ``breaker``: stops its calls while they fail too often; ``fallback``: what stands in for its
    output when they fail. Settings may say otherwise.

    Raises SettingsError for a name that is not one or belongs to another function, for what
    cannot be declared (a rate of zero, a version that is none), and for parameters that no JSON
    input can fill.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a capability",
            hint="a name is letters, digits, `_`, `.`, `-`, and starts with a letter or `_`; "
            'write `@capability("name")`',
        )

    try:
        declared = Declared(
            version=version,
            timeout=timeout,
            retry=cast("RetryPolicy | None", retry),  # it reads the fields of one, too
            cost=cost,
            concurrency=concurrency,
            rate_limit=rate_limit,
            idempotent=idempotent,
        )
    except SettingsError as exc:
        raise SettingsError(f"capability {name!r}: {exc.message}", hint=exc.hint) from None

    def register(function: Function) -> Function:
        known = _capabilities.get(name)
        if known and place_of(known.function) != place_of(function):
            raise SettingsError(
                f"the capability {name!r} is defined twice: by {place_of(known.function)} and by "
                f"{place_of(function)}",
                hint="give one of them another name",
            )
        _capabilities[name] = Capability(
            name, function, description, breaker, fallback, declared, input, output, spends
        )
        return function

    return register


def registry() -> Mapping[str, Capability]:
    """The capabilities of this process, by name: a view, not a copy."""
    return MappingProxyType(_capabilities)


def get(name: str) -> Capability | None:
    return _capabilities.get(name)
