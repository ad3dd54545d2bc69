"""What goes wrong: a source that does not parse, an operator that does not fit its operands."""

from __future__ import annotations

from typing import Any

from orch.errors import ExpressionError, StepError
from orch.workflows.expressions.conversion import kind_of


class EvaluationError(StepError):
    """An expression cannot be evaluated with the data that it found; handlers match its name."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("ExpressionError", message, hint=hint)


class Broken(Exception):
    """A source that does not parse, at a 0-based position: the text around it is not known."""

    def __init__(self, position: int, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason
        self.hint = hint

    def within(self, text: str, offset: int = 0, hint: str = "") -> ExpressionError:
        position = self.position + offset
        return ExpressionError(
            f"expression breaks at column {position + 1}: {self.reason}\n{_caret(text, position)}",
            text=text,
            column=position + 1,
            hint="; ".join(filter(None, (self.hint, hint))),
        )


class CannotApply(Exception):
    """An operator met operands that it does not take: the expression around it is not known."""

    def __init__(self, symbol: str, *operands: Any, why: str = "") -> None:
        super().__init__(symbol)
        self.symbol = symbol
        self.operands = operands
        self.why = why

    def to_error(self, text: str) -> EvaluationError:
        kinds = [kind_of(operand) for operand in self.operands]
        shown = text if len(text) <= 200 else text[:199] + "…"
        why = f": {self.why}" if self.why else ""
        message = f"expression `{shown}` cannot apply `{self.symbol}` to {' and '.join(kinds)}{why}"
        return EvaluationError(message, hint=self._hint(kinds))

    def _hint(self, kinds: list[str]) -> str:
        if "null" in kinds:
            return "a path that leads nowhere is null; give a default, as in ($.input.count || 0)"
        if self.symbol in ("/", "-", "*", "%") and "string" in kinds:
            return "to write text and not arithmetic, put each path in braces: ${$.input.name}"
        return ""


def _caret(text: str, position: int) -> str:
    """The line of ``text`` that holds ``position``, cut to what fits, and a caret below it."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : len(text) if end < 0 else end]
    skipped = max(0, position - start - 60)
    before = "…" if skipped else ""
    shown = line[skipped : skipped + 90].replace("\t", " ")
    return f"  {before}{shown}\n  {' ' * (len(before) + position - start - skipped)}^"
