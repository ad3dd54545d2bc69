"""Definitions in and out: YAML, JSON and Python files, and the library of the package.

YAML is read by the core schema of YAML 1.2: `yes`, `no`, `on`, `off`, dates and `12:30` are
text, and a key is always text, so that the branches `true:` and `false:` need no quotes.
A file is read, nothing else is touched; a broken one raises LoadError with line and column.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import ValidationError

from orch.errors import DefinitionError, InvalidWorkflow, LoadError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import MAX_DEPTH, MAX_NODES, Severity, validate_document

MAX_BYTES = 1024 * 1024
"""The largest file that is read."""

Format = Literal["yaml", "json"]
_FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_LIBRARY = files("orch.workflows.library")


# --- in --------------------------------------------------------------------------------------


def load_definition(path: Path | str) -> WorkflowDefinition:
    """The definition in a .yaml, .yml, .json or .py file.

    Raises LoadError when the file cannot be read, InvalidWorkflow when what it holds does not
    have the structure of a workflow. What a workflow means is checked by the validator.
    """
    path = Path(path)
    if path.suffix == ".py":
        return _load_python(path)
    return parse_definition(load_document(path), source=str(path))


def load_document(path: Path | str) -> dict[str, Any]:
    """What a file holds, unchecked, as plain JSON. Raises LoadError."""
    path = Path(path)
    if path.suffix == ".py":
        return _content(_load_python(path))
    if path.suffix not in _FORMATS and not path.is_dir():
        raise LoadError(
            f"{path}: {path.suffix or 'a file without a suffix'!r} is no format of a workflow",
            source=str(path),
            hint=f"name it {', '.join(_FORMATS)} or .py",
        )
    text = _read(path)
    return _parse_text(text, _FORMATS[path.suffix], str(path))


def loads(text: str, format: Format = "yaml", source: str = "<text>") -> WorkflowDefinition:
    """The definition in a text. Raises LoadError or InvalidWorkflow."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise _too_large(source)
    return parse_definition(_parse_text(text, format, source), source=source)


def parse_definition(raw: Mapping[str, Any], source: str = "<definition>") -> WorkflowDefinition:
    """The definition in a mapping. Raises InvalidWorkflow with all findings at once."""
    definition, findings = validate_document(raw)
    if definition is None:
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        listed = "\n".join(f"  {error.path or 'workflow'}: {error.message}" for error in errors)
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise InvalidWorkflow(
            f"{source} is no workflow; {count}:\n{listed}",
            findings=findings,
            hint=next((error.hint for error in errors if error.hint), ""),
        )
    return definition


def _read(path: Path) -> str:
    source = str(path)
    try:
        if path.is_dir():
            raise LoadError(
                f"{path} is a directory, not a file", source=source, hint="name a file in it"
            )
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LoadError(
            f"there is no file {path}",
            source=source,
            hint=f"check the path; it is relative to {Path.cwd()}"
            if not path.is_absolute()
            else "check the path",
        ) from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}", source=source) from error
    if len(content) > MAX_BYTES:
        raise _too_large(source)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise LoadError(
            f"{path}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8",
            source=source,
            line=line,
            column=column,
            hint="save the file as UTF-8",
        ) from None


def _too_large(source: str) -> LoadError:
    return LoadError(
        f"{source} is larger than {MAX_BYTES // 1024} KiB",
        source=source,
        hint="hand large data to the execution as its input",
    )


def _parse_text(text: str, format: Format, source: str) -> dict[str, Any]:
    if not text.strip():
        raise LoadError(f"{source} is empty", source=source, hint="a workflow has a name and steps")
    found = _parse_json(text, source) if format == "json" else _parse_yaml(text, source)
    if not isinstance(found, dict):
        kind = {list: "a list", str: "a text", type(None): "nothing"}.get(type(found), "a value")
        raise LoadError(
            f"{source} holds {kind}, not a workflow",
            source=source,
            hint="a workflow is an object with `name` and `steps`",
        )
    return found


def _broken(
    source: str, text: str, line: int, column: int, reason: str, hint: str = ""
) -> NoReturn:
    """Raise a LoadError with the line and a caret below the column; both count from 1."""
    lines = text.splitlines()
    excerpt = ""
    if 1 <= line <= len(lines):
        start = max(0, column - 60)
        shown = lines[line - 1][start : start + 100].replace("\t", " ")
        margin = f"  {line} | "
        excerpt = f"\n{margin}{shown}\n{' ' * (len(margin) + column - 1 - start)}^"
    raise LoadError(
        f"{source}:{line}:{column}: {reason}{excerpt}",
        source=source,
        line=line,
        column=column,
        hint=hint,
    )


def _position(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


# --- JSON ------------------------------------------------------------------------------------

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


class _Suspicious(Exception):
    """The text is JSON for Python, but not what we take: it must be read again to say where."""


def _parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        _broken(source, text, error.lineno, error.colno, f"no valid JSON: {reason}")
    except _Suspicious:
        offset, reason = _find_in_json(text)
        _broken(source, text, *_position(text, offset), reason)
    except RecursionError:
        raise _too_deep(source) from None
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
                first = _position(text, open_objects[-1][key])[0]
                return offset, f"the key {key!r} is here twice; first in line {first}"
            open_objects[-1][key] = offset
        elif word in _CONSTANTS:
            return token.start(), f"{word} is no JSON number"
        offset, last = token.start(), word
    return 0, "a key is there twice, or a number is none"


def _too_deep(source: str) -> LoadError:
    return LoadError(f"{source} is nested deeper than {MAX_DEPTH} levels", source=source)


# --- YAML ------------------------------------------------------------------------------------

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    value: Any
    anchor: str | None
    size: int = 1
    depth: int = 1
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)
    merged: list[Any] = field(default_factory=list)


class _YamlReader:
    """Turns the events of the parser into plain JSON.

    Not PyYAML's constructor: that one recurses, lets the last of two equal keys win, and reads
    YAML 1.1. Aliases share what they name; its size counts each time, so that a few lines that
    stand for billions of nodes are refused before anybody walks them.
    """

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.anchors: dict[str, tuple[Any, int, int]] = {}
        self.stack: list[_Open] = [_Open([], None)]

    def read(self) -> Any:
        documents = 0
        for event in yaml.parse(self.text, Loader=_Loader):
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self.fail(event.start_mark, "a second document begins here")
                case yaml.AliasEvent():
                    if event.anchor not in self.anchors:
                        self.fail(event.start_mark, f"the alias *{event.anchor} names no anchor")
                    self.add(event, *self.anchors[event.anchor])
                case yaml.ScalarEvent():
                    self.scalar(event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self.open(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self.close(event)
        values = self.stack[0].value
        return values[0] if values else None

    def open(self, event: Any) -> None:
        kind = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in (None, "!", _TAG + kind):
            self.fail(event.start_mark, f"the tag {event.tag} is not allowed")
        top = self.stack[-1]
        if isinstance(top.value, dict) and top.key is None:
            self.fail(event.start_mark, "a key must be text, not a list or an object")
        if len(self.stack) > MAX_DEPTH:
            self.fail(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        self.stack.append(_Open([] if kind == "seq" else {}, event.anchor))

    def close(self, event: Any) -> None:
        done = self.stack.pop()
        for merged in done.merged:
            for key, value in merged.items():
                done.value.setdefault(key, value)
        self.add(event, done.value, done.size, done.depth, done.anchor)

    def scalar(self, event: Any) -> None:
        top = self.stack[-1]
        value = self.resolve(event)
        if isinstance(top.value, dict) and top.key is None:
            if event.anchor:
                self.anchors[event.anchor] = (value, 1, 0)
            self.begin_key(event, value)
        else:
            self.add(event, value, 1, 0, event.anchor)

    def begin_key(self, event: Any, value: Any) -> None:
        top, line = self.stack[-1], event.start_mark.line + 1
        key = value if isinstance(value, str) else json.dumps(value)
        top.key = key
        if key == "<<" and event.implicit[0]:
            return
        if key in top.lines:
            self.fail(
                event.start_mark, f"the key {key!r} is here twice; first in line {top.lines[key]}"
            )
        top.lines[key] = line

    def add(self, event: Any, value: Any, size: int, depth: int, anchor: str | None = None) -> None:
        if anchor:
            self.anchors[anchor] = (value, size, depth)
        top = self.stack[-1]
        top.size += size
        top.depth = max(top.depth, depth + 1)
        if top.size > MAX_NODES:
            self.fail(event.start_mark, f"its aliases stand for more than {MAX_NODES:,} values")
        if len(self.stack) + depth > MAX_DEPTH:
            self.fail(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:  # an alias in the place of a key
            if isinstance(value, list | dict):
                self.fail(event.start_mark, "a key must be text, not a list or an object")
            top.key = value if isinstance(value, str) else json.dumps(value)
        elif top.key == "<<" and "<<" not in top.lines:
            self.merge(event, value)
        else:
            top.value[top.key] = value
            top.key = None

    def merge(self, event: Any, value: Any) -> None:
        top = self.stack[-1]
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in values):
            self.fail(event.start_mark, "`<<` takes an object, or a list of objects")
        top.merged += values
        top.key = None

    def resolve(self, event: Any) -> Any:
        """The value of a scalar, by the core schema of YAML 1.2."""
        text, tag = event.value, event.tag
        if tag in ("!", _TAG + "str") or (tag is None and not event.implicit[0]):
            return text
        if tag is not None and tag not in {_TAG + n for n in ("int", "float", "bool", "null")}:
            self.fail(event.start_mark, f"the tag {tag} is not allowed")
        if text in _WORDS:
            return _WORDS[text]
        try:
            if _INTEGER.fullmatch(text):
                return int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if _FLOAT.fullmatch(text):
                return float(text)
        except ValueError:
            self.fail(event.start_mark, "a number of so many digits cannot be read")
        if _NO_NUMBER.fullmatch(text):
            self.fail(event.start_mark, f"{text} is no JSON number", "for text, put it in quotes")
        return text

    def fail(self, mark: Any, reason: str, hint: str = "") -> NoReturn:
        _broken(self.source, self.text, mark.line + 1, mark.column + 1, reason, hint)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return _YamlReader(text, source).read()
    except yaml.MarkedYAMLError as error:
        reason = error.problem or "it breaks here"
        mark = error.problem_mark or error.context_mark
        if error.context:
            reason = f"{reason} {error.context}"
        if mark is None:
            raise LoadError(f"{source} is no valid YAML: {reason}", source=source) from None
        hint = "indent with blanks, not with tabs" if "\\t" in reason else ""
        _broken(source, text, mark.line + 1, mark.column + 1, f"no valid YAML: {reason}", hint)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        found = re.search(
            r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text
        )
        if found is None:
            raise LoadError(f"{source} is no valid YAML: {error}", source=source) from None
        what = f"the character U+{ord(found[0]):04X} is not allowed here"
        _broken(source, text, *_position(text, found.start()), f"no valid YAML: {what}")
    except RecursionError:
        raise _too_deep(source) from None


# --- Python ----------------------------------------------------------------------------------


def _load_python(path: Path) -> WorkflowDefinition:
    """The one definition of a module, or the one that is named `workflow`. The file is run."""
    source, text = str(path), _read(path)
    try:
        names = runpy.run_path(source, run_name=f"orch_workflow_{path.stem}")
    except SyntaxError as error:
        _broken(source, text, error.lineno or 1, error.offset or 1, f"no valid Python: {error.msg}")
    except DefinitionError:
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == source]
        line = (frames[-1].lineno or 1) if frames else 1
        what = _first_problem(error) if isinstance(error, ValidationError) else str(error)
        _broken(source, text, line, 1, f"raised {type(error).__name__}: {what}")
    found = {name: each for name, each in names.items() if isinstance(each, WorkflowDefinition)}
    chosen = found.get("workflow") or (next(iter(found.values())) if len(found) == 1 else None)
    if chosen is None:
        listed = f"holds {len(found)} ({', '.join(found)})" if found else "holds none"
        raise LoadError(
            f"{path} should hold one WorkflowDefinition, and {listed}",
            source=source,
            hint="name the one that is meant `workflow`",
        )
    return chosen


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


# --- out -------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as a number, too; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks of Unicode as they are, and reads them back as blanks.
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    node: yaml.ScalarNode = dumper.represent_scalar(_TAG + "str", text, style=style)
    return node


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    _TAG + "float", re.compile(rf"(?:{_FLOAT.pattern}|{_INTEGER.pattern})\Z"), list("-+.0123456789")
)


def dumps(definition: WorkflowDefinition, format: Format = "yaml") -> str:
    """A definition as text: camelCase, without defaults. Loading it gives the same version."""
    content = _content(definition)
    if format == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def save_definition(definition: WorkflowDefinition, path: Path | str) -> None:
    """Write a .yaml, .yml or .json file, whole or not at all."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise LoadError(
            f"{path}: a workflow cannot be written as {path.suffix or 'a file without suffix'!r}",
            source=str(path),
            hint=f"name it {', '.join(_FORMATS)}",
        )
    text = dumps(definition, _FORMATS[path.suffix])
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise LoadError(f"{path} cannot be written: {error}", source=str(path)) from error


def _content(definition: WorkflowDefinition) -> dict[str, Any]:
    return definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)


# --- by name ---------------------------------------------------------------------------------


def library_names() -> list[str]:
    """The keys of the workflows that ship with the package, sorted."""
    return sorted(_library_files())


def library_definition(stem: str) -> WorkflowDefinition | None:
    """A workflow that ships with the package, or None when there is none of that key."""
    name = _library_files().get(stem)
    if name is None:
        return None
    return loads(_LIBRARY.joinpath(name).read_text(encoding="utf-8"), "yaml", f"library/{name}")


def _library_files() -> dict[str, str]:
    names = (entry.name for entry in _LIBRARY.iterdir())
    return {name.removesuffix(".yaml"): name for name in names if name.endswith(".yaml")}


def find_beside(path: Path | str, name: str) -> Path | None:
    """The file of the workflow with the key ``name``, in a directory or beside a file of it."""
    directory = Path(path) if Path(path).is_dir() else Path(path).parent
    return next((file for file in _definitions_in(directory) if file.stem == name), None)


def _definitions_in(directory: Path) -> Iterator[Path]:
    """A key that stands in several formats is found as YAML first."""
    for suffix in _FORMATS:
        yield from sorted(file for file in directory.glob(f"*{suffix}") if file.is_file())
