"""YAML as plain JSON, read from the events of PyYAML's parser."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from orch.errors import LoadError
from orch.workflows.loading.core_schema import FLOAT, INTEGER, NO_NUMBER, TAG, WORDS
from orch.workflows.loading.failures import broken, position_of, too_deep
from orch.workflows.validation import MAX_DEPTH, MAX_NODES

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
        if event.tag not in (None, "!", TAG + kind):
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
        if tag in ("!", TAG + "str") or (tag is None and not event.implicit[0]):
            return text
        if tag is not None and tag not in {TAG + n for n in ("int", "float", "bool", "null")}:
            self.fail(event.start_mark, f"the tag {tag} is not allowed")
        if text in WORDS:
            return WORDS[text]
        try:
            if INTEGER.fullmatch(text):
                return int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if FLOAT.fullmatch(text):
                return float(text)
        except ValueError:
            self.fail(event.start_mark, "a number of so many digits cannot be read")
        if NO_NUMBER.fullmatch(text):
            self.fail(event.start_mark, f"{text} is no JSON number", "for text, put it in quotes")
        return text

    def fail(self, mark: Any, reason: str, hint: str = "") -> NoReturn:
        broken(self.source, self.text, mark.line + 1, mark.column + 1, reason, hint)


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


def parse_yaml(text: str, source: str) -> Any:
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
        broken(source, text, mark.line + 1, mark.column + 1, f"no valid YAML: {reason}", hint)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        found = _UNPRINTABLE.search(text)
        if found is None:
            raise LoadError(f"{source} is no valid YAML: {error}", source=source) from None
        what = f"the character U+{ord(found[0]):04X} is not allowed here"
        broken(source, text, *position_of(text, found.start()), f"no valid YAML: {what}")
    except RecursionError:
        raise too_deep(source) from None
