"""Files that are filled in: parameters, and steps from shared files. What is stored knows neither.

`parameters` are JSON Schemas by name; `{{ name }}` in a value becomes the parameter, typed where
it is the whole of the text, as text where it is a part; `\\{{` stays as it is, without the
backslash. `include` names files of steps beside this one, and `use: ID` puts such a step in
place of a step, with the fields beside it going before. All findings come at once.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orch.workflows.expressions import to_text
from orch.workflows.graph import as_list, as_mapping, join, snake
from orch.workflows.loading.included import StepLibrary
from orch.workflows.validation import Finding, Severity, sentences_of
from orch.workflows.validation.plain import TOO_DEEP
from orch.workflows.validation.wording import similar

FIELDS = ("parameters", "include")
"""Fields of a file that no definition has."""

MAX_USES = 1000
"""Steps that one file may take from others: a step may use others, and those others again."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(r"(\\?)\{\{((?:(?!\}\}).)*)\}\}", re.DOTALL)


class Expansion:
    """One file as it is filled in. ``findings`` are empty if ``document`` may be gone on with."""

    def __init__(self, raw: Mapping[str, Any], path: Path | None, given: Mapping[str, Any]) -> None:
        self.findings: list[Finding] = []
        self._uses = 0
        self.library = StepLibrary(path, self._error)
        self.library.read(raw.get("include"))
        self.document = {name: value for name, value in raw.items() if name not in FIELDS}
        if "steps" in raw:
            self.document["steps"] = self._steps(raw["steps"], "steps", ())
        declared = as_mapping(raw.get("parameters"))
        if raw.get("parameters") is not None and not isinstance(raw["parameters"], dict):
            self._error("parameters", "must be an object of names and their JSON Schemas")
        self.declared = {**self.library.parameters, **declared}
        if self.declared or given:
            values = self._values(given)
            self.document = {
                name: self._filled(value, values, str(name))
                for name, value in self.document.items()
            }

    def _error(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.ERROR, path, message, hint))

    # --- steps -------------------------------------------------------------------------------

    def _steps(self, steps: Any, path: str, inside: tuple[str, ...]) -> Any:
        if not isinstance(steps, list):
            return steps
        return [self._step(step, f"{path}[{n}]", inside) for n, step in enumerate(steps)]

    def _step(self, step: Any, path: str, inside: tuple[str, ...]) -> Any:
        if not isinstance(step, dict):
            return step
        name = step.get("use")
        if "use" in step:
            found = self._used(name, path, inside)
            if found is None:
                return {key: value for key, value in step.items() if key != "use"}
            inside = (*inside, str(name))
            over = {key: value for key, value in step.items() if key != "use"}
            hidden = {snake(key) for key in over}
            step = {key: v for key, v in found.items() if snake(key) not in hidden} | over
            if "use" in found:
                return self._step({**step, "use": found["use"]}, path, inside)
        step = dict(step)
        for kind in ("map", "loop"):
            if isinstance(step.get(kind), dict) and "steps" in step[kind]:
                below = f"{path}.{kind}.steps"
                step[kind] = {
                    **step[kind],
                    "steps": self._steps(step[kind]["steps"], below, inside),
                }
        parallel = step.get("parallel")
        if isinstance(parallel, dict) and isinstance(parallel.get("branches"), list):
            step["parallel"] = {
                **parallel,
                "branches": list(self._branches(parallel, path, inside)),
            }
        return step

    def _branches(
        self, parallel: dict[str, Any], path: str, inside: tuple[str, ...]
    ) -> Iterator[Any]:
        for number, branch in enumerate(parallel["branches"]):
            if isinstance(branch, dict) and "steps" in branch:
                below = f"{path}.parallel.branches[{number}].steps"
                branch = {**branch, "steps": self._steps(branch["steps"], below, inside)}
            yield branch

    def _used(self, name: Any, path: str, inside: tuple[str, ...]) -> dict[str, Any] | None:
        """A copy of an included step, or None and a finding."""
        steps = self.library.steps
        self._uses += 1
        if not isinstance(name, str) or name not in steps:
            hint = similar(str(name), steps) or "name a file that has it under `include`"
            self._error(f"{path}.use", f"no included file has a step {name!r}", hint)
        elif name in inside:
            circle = " -> ".join((*inside[inside.index(name) :], name))
            self._error(f"{path}.use", f"steps use each other in a circle: {circle}")
        elif self._uses > MAX_USES:
            if self._uses == MAX_USES + 1:
                self._error(f"{path}.use", f"more than {MAX_USES} steps are taken from other files")
        else:
            return copy.deepcopy(steps[name])
        return None

    # --- parameters --------------------------------------------------------------------------

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in self.declared:
                known = ", ".join(self.declared) or "none"
                hint = similar(name, self.declared) or f"its parameters are: {known}"
                self._error(f"parameters.{name}", f"there is no parameter {name!r}", hint)
        values = {}
        for name, schema in self.declared.items():
            path = f"parameters.{name}"
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                hint = "letters, digits and `_`; a letter or `_` first"
                self._error(path, f"{name!r} is no name of a parameter", hint)
            elif not isinstance(schema, dict):
                self._error(path, "must be a JSON Schema, like {type: string}")
            elif name not in given and "default" not in schema:
                about = schema.get("description")
                message = f"the parameter {name!r} has no value, and no `default`"
                hint = f"give it: --set {name}=..." + (f" ({about})" if about else "")
                self._error(path, message, hint)
            else:
                values[name] = self._value(path, schema, given.get(name, schema.get("default")))
        return values

    def _value(self, path: str, schema: dict[str, Any], value: Any) -> Any:
        kinds = as_list(schema.get("type")) or [schema.get("type")]
        if isinstance(value, str) and kinds != [None] and "string" not in kinds:
            with contextlib.suppress(ValueError):
                value = json.loads(value)  # from a command line, where all is text
        for sentence in sentences_of(schema, value):
            self._error(path, sentence)
        return value

    def _filled(self, value: Any, values: Mapping[str, Any], path: str) -> Any:
        if isinstance(value, str):
            return self._text(value, values, path) if "{{" in value else value
        if isinstance(value, dict):
            return {k: self._filled(v, values, join(path, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self._filled(v, values, join(path, n)) for n, v in enumerate(value)]
        return value

    def _text(self, text: str, values: Mapping[str, Any], path: str) -> Any:
        whole = _MARK.fullmatch(text)
        if whole is not None and not whole[1]:
            name = whole[2].strip()
            return copy.deepcopy(values[name]) if name in values else self._missed(name, path)
        return _MARK.sub(lambda found: self._part(found, values, path), text)

    def _part(self, found: re.Match[str], values: Mapping[str, Any], path: str) -> str:
        if found[1]:
            return found[0][1:]
        name = found[2].strip()
        return to_text(values[name]) if name in values else str(self._missed(name, path))

    def _missed(self, name: str, path: str) -> str:
        if name not in self.declared:
            hint = similar(name, self.declared)
            if not _NAME.fullmatch(name):
                hint = "only names stand there; write `\\{{` where the braces themselves are meant"
            self._error(path, f"`{{{{ {name} }}}}` is no parameter", hint)
        return ""


def expand(
    raw: Mapping[str, Any], path: Path | None = None, given: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[Finding]]:
    """A document without `parameters`, `include` and `use`, and all that is wrong with them.

    ``path``: its file, beside which included ones are looked for. ``given``: values of
    parameters; a text for a parameter that takes no text is read as JSON.
    """
    try:
        expansion = Expansion(raw, path, given or {})
    except RecursionError:
        return dict(raw), [Finding(Severity.ERROR, "", TOO_DEEP)]
    return expansion.document, expansion.findings
