"""What all models of a definition have in common: how keys are written, and constrained texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from orch.workflows.ranges import VersionRange

StepId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=100)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
AgentName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+(@[A-Za-z0-9_.-]+)?$", max_length=200)
]
CapabilityName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=200)
]


def _check_range(text: str) -> str:
    VersionRange(text)
    return text


VersionSpec = Annotated[str, StringConstraints(max_length=200), AfterValidator(_check_range)]
Milliseconds = Annotated[int, Field(ge=1)]
Priority = Annotated[int, Field(ge=0, le=9)]


class Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )
