"""The operators, and one step of a path."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from orch.workflows.expressions.conversion import to_text
from orch.workflows.expressions.failures import CannotApply

MAX_BITS: Final = 1024  # of an integer: the range of a double, so that int and float always mix
NUMBERS: Final = (int, float)  # compared by exact class: a bool is not a number


def _are_numbers(left: Any, right: Any) -> bool:
    return left.__class__ in NUMBERS and right.__class__ in NUMBERS


def bounded(value: Any) -> Any:
    """``value``, unless it has left what a JSON number may be: infinite, or of endless digits."""
    if value.__class__ is int:
        if value.bit_length() > MAX_BITS:
            raise OverflowError
    elif not math.isfinite(value):
        raise OverflowError
    return value


def _arithmetic(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(left: Any, right: Any) -> Any:
        if not _are_numbers(left, right):
            raise CannotApply(symbol, left, right)
        try:
            return bounded(apply(left, right))
        except ZeroDivisionError:
            raise CannotApply(symbol, left, right, why="division by zero") from None
        except OverflowError:
            raise CannotApply(symbol, left, right, why="the result is too large") from None

    return run


def _quotient(left: Any, right: Any) -> Any:
    exact = left.__class__ is int and right.__class__ is int and left % right == 0
    return left // right if exact else left / right


def _remainder(left: Any, right: Any) -> Any:
    """As in JavaScript, the remainder has the sign of the dividend."""
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


_sum = _arithmetic("+", operator.add)


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        return to_text(left) + to_text(right)
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    return _sum(left, right)


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON: as Python's, but true is not 1, at any depth.

    A loop over pairs, because data may be nested more deeply than the stack allows.
    """
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _differs(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _comparison(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(left: Any, right: Any) -> Any:
        if _are_numbers(left, right) or (isinstance(left, str) and isinstance(right, str)):
            return apply(left, right)
        raise CannotApply(symbol, left, right)

    return run


OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": _add,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _quotient),
    "%": _arithmetic("%", _remainder),
    "==": _equal,
    "===": _equal,
    "!=": _differs,
    "!==": _differs,
    "<": _comparison("<", operator.lt),
    "<=": _comparison("<=", operator.le),
    ">": _comparison(">", operator.gt),
    ">=": _comparison(">=", operator.ge),
}


def access(value: Any, key: Any) -> Any:
    """One step of a path. What is not there is null, of whatever type the value is."""
    if key.__class__ is float and key.is_integer():
        key = int(key)
    if isinstance(value, Mapping):
        # Keys of JSON are strings: `$.variables.by_id[$.item.id]` works with a number as id.
        name = str(key) if key.__class__ is int else key
        if isinstance(name, str) and name in value:
            return value[name]
    elif key.__class__ is int and isinstance(value, (list, str)):
        return value[key] if -len(value) <= key < len(value) else None
    if key == "length" and isinstance(value, (list, str, Mapping)):
        return len(value)
    return None
