"""Options that commands share as a whole: a dataclass whose fields are the options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, cast

Command = TypeVar("Command", bound=Callable[..., None])


def with_options(command: Command) -> Command:
    """Give a command the fields of each parameter that is a dataclass, as options in its place.

    typer hands over the options, and the command gets the dataclass; from Python it is called
    as it is written. Raises ValueError where two options have one name.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }
    fields = {name: _fields(group) for name, group in groups.items()}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += fields[name].values() if name in fields else [parameter]

    @functools.wraps(command)
    def wrapped(*own: Any, **given: Any) -> None:
        for name, options in fields.items():
            if found := {each: given.pop(each) for each in options if each in given}:
                given[name] = groups[name](**found)
        command(*own, **given)

    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return cast("Command", wrapped)


@functools.cache
def _fields(group: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(group, eval_str=True).parameters
