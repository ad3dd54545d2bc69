"""JSON that tells where it breaks, and takes no key twice."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from orch.errors import LoadError
from orch.workflows.loading.failures import broken, position_of, too_deep

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


class _Suspicious(Exception):
    """The text is JSON for Python, but not what we take: it must be read again to say where."""


def parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        broken(source, text, error.lineno, error.colno, f"no valid JSON: {reason}")
    except _Suspicious:
        offset, reason = _find_in_json(text)
        broken(source, text, *position_of(text, offset), reason)
    except RecursionError:
        raise too_deep(source) from None
    except ValueError as error:  # a number of thousands of digits
        raise LoadError(f"{source} is no valid JSON: {error}", source=source) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Suspicious
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Suspicious(name)


def _find_in_json(text: str) -> tuple[int, str]:
    """Offset and reason of the first repeated key, or of a number that JSON does not have."""
    open_objects: list[dict[str, int]] = []
    offset, last = 0, ""
    for token in _JSON_TOKEN.finditer(text):
        word = token[0]
        if word in ("{", "["):
            open_objects.append({})
        elif word in ("}", "]"):
            open_objects.pop()
        elif word == ":":
            key = json.loads(last)
            if key in open_objects[-1]:
                first = position_of(text, open_objects[-1][key])[0]
                return offset, f"the key {key!r} is here twice; first in line {first}"
            open_objects[-1][key] = offset
        elif word in _CONSTANTS:
            return token.start(), f"{word} is no JSON number"
        offset, last = token.start(), word
    return 0, "a key is there twice, or a number is none"
