"""A step that a person does: what is asked, and what an answer must look like.

The step is a task of the capability `human_approval`; its input says what is asked: `prompt`,
`choices` (a list of texts), `form` (a JSON Schema), `queue`, `within`, `remindEvery`,
`quietHours` and `default`, the answer if nobody gives one in time. The output is
``{"choice": …, "form": …, "by": …, "comment": …}``; what was not asked for is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orch.errors import InputError, StepError
from orch.workflows.ladder import HumanRung
from orch.workflows.state import encode
from orch.workflows.validation import sentences_of

KNOWN = frozenset(
    {"prompt", "choices", "form", "queue", "within", "remindEvery", "quietHours", "default"}
)
_OF_RUNG = ("queue", "within", "remindEvery", "quietHours", "form")


@dataclass(frozen=True)
class Approval:
    """What is asked. ``rung``: where, and for how long."""

    prompt: str
    choices: tuple[str, ...]
    form: Mapping[str, Any] | None
    rung: HumanRung

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Approval:
        """Raises StepError ``InvalidApproval`` for what cannot be asked."""
        if not isinstance(asked, Mapping):
            raise _invalid(f"its input is {encode(asked)[:100]}, and must be an object")
        if unknown := sorted(set(asked) - KNOWN):
            raise _invalid(
                f"its input has {', '.join(unknown)}; known are {', '.join(sorted(KNOWN))}"
            )
        choices = asked.get("choices") or []
        texts = isinstance(choices, list) and all(isinstance(each, str) for each in choices)
        if not texts or len(set(choices)) != len(choices):
            raise _invalid(f"`choices` is {encode(choices)[:100]}, and must be a list of texts")
        given = {name: asked[name] for name in _OF_RUNG if asked.get(name) is not None}
        try:
            rung = HumanRung.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _invalid(f"`{where or 'input'}`: {first['msg']}") from None
        found = cls(str(asked.get("prompt") or ""), tuple(choices), rung.form, rung)
        if "default" in asked:
            try:
                found.answer(asked["default"])
            except InputError as error:
                raise _invalid(f"`default`: {error.message}") from None
        return found

    def answer(self, value: Any, by: str = "", comment: str = "") -> dict[str, Any]:
        """The output of the step. Raises InputError for what does not fit what was asked.

        ``value``: a choice, or the form, or an object with both as `choice` and `form`.
        """
        choice, form = self._parts(value)
        if self.choices and choice not in self.choices:
            raise InputError(
                f"{encode(choice)[:100]} is none of the choices: {', '.join(self.choices)}"
            )
        if self.form is not None:
            misses = sentences_of(self.form, form)
            if misses:
                raise InputError(f"the answer does not fit the form: {'; '.join(misses)}")
        return {"choice": choice, "form": form, "by": by or None, "comment": comment or None}

    def _parts(self, value: Any) -> tuple[Any, Any]:
        if self.choices and self.form is not None:
            if isinstance(value, Mapping) and set(value) <= {"choice", "form"}:
                return value.get("choice"), value.get("form")
            raise InputError('the answer needs both: {"choice": …, "form": …}')
        if isinstance(value, Mapping) and set(value) == {"choice"}:
            return value["choice"], None
        if self.choices:
            return value, None
        if isinstance(value, Mapping) and set(value) == {"form"}:
            return None, value["form"]
        return None, value


def _invalid(message: str) -> StepError:
    return StepError("InvalidApproval", message)
