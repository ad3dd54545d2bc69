"""What is registered of a webhook."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from orch.hooks import check_url
from orch.workflows.hearing import TYPES, can_be_heard, is_heard
from orch.workflows.model import Model, Name

SecretName = Annotated[
    str, StringConstraints(pattern=r"^webhook\.[A-Za-z0-9_.-]+$", max_length=200)
]
"""A secret that a webhook may name: whoever registers one must not get others used for its URL."""


class Webhook(Model):
    """Who is told of which happenings. ``created``: ISO 8601 in UTC."""

    id: str = ""
    """Made of what it says, so that the same one is registered once."""
    event: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """What it is told of, such as `execution.failed` or `event.paid`; `*` for any text."""
    url: Annotated[str, StringConstraints(max_length=2000)]
    """http or https: where it is posted to."""
    workflows: list[Name] = Field(default_factory=list)
    """Only of executions of these; without any, of all."""
    secret: SecretName | None = None
    """Name of the secret, `webhook.…`, that is the key of the signature; without it, none."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds that it has to answer."""
    created: str = ""
    by: str = ""

    @field_validator("url")
    @classmethod
    def _is_one(cls, value: str) -> str:
        check_url(value)
        return value

    @field_validator("event")
    @classmethod
    def _is_told(cls, value: str) -> str:
        if not can_be_heard(value):
            raise ValueError(
                f"no webhook is told of {value!r}: what one can be told of is "
                f"{', '.join(TYPES)}, and event.NAME; all else is followed, by `orch events`"
            )
        return value

    @property
    def named(self) -> str:
        """The id of what it says."""
        said = json.dumps([self.event, self.url, sorted(self.workflows)])
        return f"wh_{hashlib.sha256(said.encode()).hexdigest()[:16]}"

    def wants(self, type: str, workflow: str) -> bool:
        return is_heard(self.event, type) and (not self.workflows or workflow in self.workflows)
