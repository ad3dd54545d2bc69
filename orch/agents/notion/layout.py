"""The default layout of a page: all that was passed is shown on it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from orch.agents.json_value import to_json_value

_LONG = 100


def title_of(details: dict[str, Any]) -> str:
    """The title of a page that was given none."""
    if details.get("error") is not None:
        return f"Error in {details.get('step') or details.get('workflow') or 'a workflow'}"
    named = next((name for name, value in details.items() if value is not None), "page")
    return _words(named)


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+", " ", name).strip()
    return spaced[:1].upper() + spaced[1:]


def layout(title: str, content: str | None, details: dict[str, Any]) -> str:
    """A whole page: its title, and its sections."""
    return "\n".join([f"# {' '.join(title.split())}", "", *sections(content, details)])


def sections(content: str | None, details: dict[str, Any]) -> list[str]:
    """The content; then what is short as a list, and what is long with a heading each."""
    short = {name: value for name, value in details.items() if _is_short(value)}
    lines = [content.strip(), ""] if content else []
    lines += [f"- **{_words(name)}**: {_inline(value)}" for name, value in short.items()]
    lines += [""] if short else []
    for name, value in details.items():
        if name not in short:
            lines += [f"## {_words(name)}", "", *_block(value), ""]
    return lines


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONG and "\n" not in value
    return not isinstance(value, dict | list)


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else str(to_json_value(value))


def _block(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return _fenced(value.rstrip("\n"), "")
    plain = to_json_value(value)
    return _fenced(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip(), "yaml")


def _fenced(text: str, language: str) -> list[str]:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text, fence]
