"""What a step logs: to the worker's log, and to the lines that are kept with its execution."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

KeepLine = Callable[[int, str, Mapping[str, Any]], None]
"""(level, text, fields given as `extra`): keep a line."""


def unkept(level: int, text: str, fields: Mapping[str, Any]) -> None:
    del level, text, fields


class StepLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the execution, path and attempt to every record, as fields and as a prefix.

    ``keep`` gets every line, whatever the level of the worker's own log is.
    """

    def __init__(
        self, logger: logging.Logger, fields: Mapping[str, object], keep: KeepLine = unkept
    ) -> None:
        super().__init__(logger, fields)
        self._keep = keep

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        fields: Mapping[str, object] = self.extra or {}
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        place = "{execution_id} {path} #{attempt}".format(**fields).replace("%", "%%")
        return f"{place}: {msg}", kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self._keep is not unkept:
            text = _formatted(msg, args) + _stack(kwargs.get("exc_info"))
            self._keep(level, text, kwargs.get("extra") or {})
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the caller's line, not this one
        super().log(level, msg, *args, **kwargs)


def _formatted(msg: object, args: tuple[object, ...]) -> str:
    """As `logging` does it; what does not fit its arguments is kept as it stands."""
    text = str(msg)
    if not args:
        return text
    given: Any = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
    try:
        return str(text % given)
    except (TypeError, ValueError, KeyError):
        return f"{text} {args!r}"


def _stack(given: Any) -> str:
    error = sys.exc_info() if given is True else given
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    if not isinstance(error, tuple) or error[0] is None:
        return ""
    return "\n" + "".join(traceback.format_exception(*error)).rstrip()
