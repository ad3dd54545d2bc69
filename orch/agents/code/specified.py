"""Tests made from a specification: that each component is there, offers what it should, and
gives what the examples say.

A specification has `tests` (`{"name", "content"}`, written as they are), or lists of components:
`uiComponents` in `../src/components`, `dataServices` in `../src/services`, `components` in
`../src`. A component is a name, or an object:

    {"name": "cart.py", "exports": ["total"],
     "examples": [{"call": "total", "arguments": [[1, 2]], "expected": 3}]}

`language` (`python`, `javascript`) says what a name without a suffix means; `file` says where the
component lies, relative to the project, if elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from keyword import iskeyword
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orch.errors import StepError

_PLACES = {"uiComponents": "src/components", "dataServices": "src/services", "components": "src"}
_SUFFIXES = {"python": ".py", "javascript": ".js"}


class Example(BaseModel):
    model_config = ConfigDict(extra="ignore")

    call: str = Field(pattern=r"^[A-Za-z_$][A-Za-z0-9_$]*$")
    arguments: list[Any] = []
    expected: Any = None


class Component(BaseModel):
    """What the tests want to know of a component; its other keys are not theirs."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1)
    file: str | None = None
    language: Literal["python", "javascript"] = "javascript"
    exports: list[str] = []
    examples: list[Example] = []


class Written(BaseModel):
    """A test that is written as it stands."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1)
    content: str


def specified_tests(specification: dict[str, Any], language: str | None = None) -> dict[str, str]:
    """The tests of a specification: the path below the directory of tests, and the content.

    language  of components that do not say

    Raises StepError `InvalidInput` for what is no test or component.
    """
    language = language or specification.get("language")
    written = [_read(Written, test, "tests", n) for n, test in _listed(specification, "tests")]
    made = {test.name: test.content for test in written}
    for key, place in _PLACES.items():
        for number, given in _listed(specification, key):
            entry = {"name": given} if isinstance(given, str) else given
            if isinstance(entry, dict) and language and "language" not in entry:
                entry = {**entry, "language": language}
            component = _read(Component, entry, key, number)
            name, content = _test_of(component, place)
            if name in made:  # a service that is called as a view is
                name, content = _test_of(component, place, f"{PurePosixPath(place).name}_")
            made.setdefault(name, content)
    return made


def _listed(specification: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    value = specification.get(key) or []
    if not isinstance(value, list):
        raise StepError(
            "InvalidInput", f"`{key}` of the specification is {type(value).__name__}, not a list"
        )
    return list(enumerate(value, start=1))


def _read(model: Any, value: Any, key: str, number: int) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        reasons = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'it'}: {error['msg']}"
            for error in exc.errors(include_url=False)
        )
        raise StepError(
            "InvalidInput", f"entry {number} of `{key}` in the specification: {reasons}"
        ) from None


def _test_of(component: Component, place: str, prefix: str = "") -> tuple[str, str]:
    suffix = PurePosixPath(component.name).suffix
    file = component.name if suffix else component.name + _SUFFIXES[component.language]
    path = PurePosixPath(component.file or f"{place}/{file}")
    stem = re.sub(r"\W+", "_", PurePosixPath(file).with_suffix("").as_posix()).strip("_")
    if path.suffix == ".py":
        return f"test_{prefix}{stem}.py", _python(component, path)
    return f"{prefix}{stem}.test.js", _javascript(component, path)


# Python --------------------------------------------------------------------------------------

_PYTHON_HEAD = '''"""{title}, by its specification."""

import importlib.util
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / {path}


def load():
    spec = importlib.util.spec_from_file_location({module}, FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_can_be_imported():
    assert load().__name__ == {module}
'''


def _python(component: Component, path: PurePosixPath) -> str:
    parts = [
        _PYTHON_HEAD.format(
            title=_title(component), path=_text(str(path)), module=_text(_identifier(path.stem))
        )
    ]
    for number, name in enumerate(dict.fromkeys(component.exports), start=1):
        head = f"def test_{number}_it_offers_{_snake(name)}():\n"
        parts.append(f"{head}    assert hasattr(load(), {_text(name)})\n")
    for number, example in enumerate(component.examples, start=1):
        parts.append(_python_example(number, example))
    return "\n\n".join(parts)


def _python_example(number: int, example: Example) -> str:
    """Values stand as JSON, one on a line of its own, so that any of them keeps the layout."""
    if not example.call.isidentifier() or iskeyword(example.call):
        raise StepError("InvalidInput", f"an example calls {example.call!r}: no name in Python")
    head = f"def test_example_{number}_of_{_snake(example.call)}():\n"
    arguments, expected = _literal(example.arguments), _literal(example.expected)
    body = f"    arguments = {arguments}\n    expected = {expected}\n"
    return head + body + f"    assert load().{example.call}(*arguments) == expected\n"


def _literal(value: Any) -> str:
    """A JSON value in the notation of Python."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_text(str(k))}: {_literal(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return _text(value) if isinstance(value, str) else repr(value)


# JavaScript ----------------------------------------------------------------------------------


def _javascript(component: Component, path: PurePosixPath) -> str:
    target = os.path.join("..", str(path)).replace(os.sep, "/")
    lines = [
        f"// {_title(component)}, by its specification.",
        'import assert from "node:assert/strict";',
        'import test from "node:test";',
        f"import * as component from {_text(target)};",
        "",
        'test("it can be imported", () => {',
        '  assert.equal(typeof component, "object");',
        "});",
    ]
    for name in component.exports:
        lines += [
            "",
            f"test({_text(f'it offers {name}')}, () => {{",
            f"  assert.notEqual(component[{_text(name)}], undefined);",
            "});",
        ]
    for number, example in enumerate(component.examples, start=1):
        lines += [
            "",
            f"test({_text(f'example {number} of {example.call}')}, () => {{",
            f"  const given = {json.dumps(example.arguments)};",
            f"  const expected = {json.dumps(example.expected)};",
            f"  assert.deepEqual(component.{example.call}(...given), expected);",
            "});",
        ]
    return "\n".join([*lines, ""])


def _text(value: str) -> str:
    """A text as a literal that both languages read alike."""
    return json.dumps(value)


def _title(component: Component) -> str:
    return " ".join(re.sub(r'["\\]', "", component.name).split())


def _identifier(name: str) -> str:
    cleaned = re.sub(r"\W", "_", name)
    return f"_{cleaned}" if cleaned[:1].isdigit() else cleaned


def _snake(name: str) -> str:
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()
