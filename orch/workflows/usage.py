"""What attempts used: tokens of language models, calls, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.workflows.state import encode


@dataclass(frozen=True)
class Usage:
    """``cost``: in the currency that all prices are given in; the prices of models are in USD.
    ``model``: the last one that was asked."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    calls: int = 0
    model: str = ""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __bool__(self) -> bool:
        return bool(self.tokens or self.cost or self.calls)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            round(self.cost + other.cost, 12),
            self.calls + other.calls,
            other.model or self.model,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
            round(self.cost - other.cost, 12),
            self.calls - other.calls,
            self.model,
        )

    def __str__(self) -> str:
        parts = [f"{self.tokens} tokens"] if self.tokens else []
        if self.cost or not parts:
            parts.append(f"cost {self.cost:.6g}")
        return ", ".join([*parts, *([self.model] if self.model else [])])

    def as_list(self) -> list[Any]:
        """As the journal keeps it."""
        return [self.input_tokens, self.output_tokens, self.cost, self.calls, self.model]

    @classmethod
    def of(cls, found: list[Any]) -> Usage:
        input_tokens, output_tokens, cost, calls, model = found
        return cls(int(input_tokens), int(output_tokens), float(cost), int(calls), model)

    def dumps(self) -> str:
        return encode(self.as_list())

    @classmethod
    def loads(cls, text: str | None) -> Usage:
        return cls.of(json.loads(text)) if text else cls()


USED_FIELD = "used"
"""Field of the record: what the execution used."""

_OF_STEP = "u:"


def usage_field(path: str) -> str:
    """What the step at ``path`` used: `{attempt: usage}`; see `lua/use.lua`."""
    return f"{_OF_STEP}{path}"


def usage_of_step(text: str | None) -> Usage:
    """Of all its attempts."""
    found = Usage()
    for each in json.loads(text or "{}").values():
        found += Usage.of(each[:5])
    return found


def usage_by_path(record: Mapping[str, str]) -> dict[str, Usage]:
    """Path of each step that used anything -> what."""
    return {
        name.removeprefix(_OF_STEP): usage_of_step(text)
        for name, text in record.items()
        if name.startswith(_OF_STEP)
    }
