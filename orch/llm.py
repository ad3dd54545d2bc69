"""What settings say of language models: agents that are data, and prices."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class LlmAgent(BaseModel):
    """An agent that is a prompt, a model and tools. Its name is that of a capability."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    instructions: Annotated[str, Field(min_length=1)]
    description: str = ""
    model: str | None = None
    tools: list[str] = Field(default_factory=list)
    output_schema: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_requests: Annotated[int, Field(ge=1, le=200)] = 20


class LlmPrice(BaseModel):
    """What a million tokens of a model cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
