"""A budget: what a step, an execution or a project may use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

OnExceeded = Literal["stop", "escalate"]


class Budget(BaseModel):
    """The most that may be used. At least one of `cost` and `tokens`."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """In the currency that all prices are given in; the prices of models are in USD."""
    tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens of language models, of input and output."""
    on_exceeded: OnExceeded = "stop"
    """`stop`: the step fails as `BudgetExceeded`; `escalate`: people are asked first, in the
    queue `budget` of the inbox."""

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if self.cost is None and self.tokens is None:
            raise ValueError("a budget needs `cost`, `tokens` or both")
        return self

    def exceeded_by(self, cost: float, tokens: int, *, begins: bool) -> str:
        """What is used up, in words; '' where nothing is.

        ``begins``: of a step that would begin with it, which must have something left.
        """
        if self.cost is not None and _beyond(cost, self.cost, begins):
            return f"a cost of {cost:.6g} of {self.cost:.6g}"
        if self.tokens is not None and _beyond(tokens, self.tokens, begins):
            return f"{tokens} of {self.tokens} tokens"
        return ""


def _beyond(used: float, limit: float, begins: bool) -> bool:
    return used >= limit if begins else used > limit
