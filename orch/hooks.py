"""What is declared of the hooks: who is told of escalations, how, and of which."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

NoticeEvent = Literal["raised", "reminder", "rung", "resolved"]
EVENTS: tuple[NoticeEvent, ...] = ("raised", "reminder", "rung", "resolved")
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HookName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
Text = Annotated[str, StringConstraints(min_length=1)]


class BaseHook(BaseModel):
    """What all hooks have. Secrets are never in a hook: it names the variable that holds one."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: HookName
    """What it is called in messages; unique."""
    events: Annotated[list[NoticeEvent], Field(min_length=1)] = Field(
        default_factory=lambda: list(EVENTS)
    )
    """What it is told of."""
    queues: list[Text] = Field(default_factory=list)
    """Only of these queues of the inbox; without any, of all."""
    paths: list[Text] = Field(default_factory=list)
    """Only of escalations on these named paths; without any, of all."""
    workflows: list[Text] = Field(default_factory=list)
    """Only of executions of these workflows; without any, of all."""
    timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds that a delivery may take."""

    @property
    def target(self) -> str:
        """To whom it goes, as it may be shown."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """As it may be shown."""
        return {**self.model_dump(mode="json"), "target": self.target}


class CommandHook(BaseHook):
    """Runs a program, never a shell, with the notice as JSON on its standard input."""

    kind: Literal["command"]
    argv: Annotated[list[Text], Field(min_length=1)]
    """The program and its arguments."""
    pass_env: list[VariableName] = Field(default_factory=list)
    """Variables that it gets although their names tell of secrets."""

    @property
    def target(self) -> str:
        return self.argv[0]

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "argv": [self.argv[0], *("…" for _ in self.argv[1:2])]}


class WebhookHook(BaseHook):
    """Posts the notice as JSON, signed as the Standard Webhooks specification says."""

    kind: Literal["webhook"]
    url: str | None = None
    """http or https."""
    url_env: VariableName | None = None
    """Instead: the variable that holds the URL, where that is a secret itself."""
    secret_env: VariableName | None = None
    """The variable that holds the key of the signature; without it, nothing is signed."""
    token_env: VariableName | None = None
    """The variable that holds a token, sent as `Authorization: Bearer`."""

    @model_validator(mode="after")
    def _one_url(self) -> WebhookHook:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("a webhook takes either `url` or `url_env`")
        if self.url is not None:
            check_url(self.url)
        return self

    @property
    def target(self) -> str:
        if self.url is None:
            return f"${self.url_env}"
        return shown_url(self.url)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "url": self.target if self.url else None}


class EmailHook(BaseHook):
    """Sends a mail through an SMTP server."""

    kind: Literal["email"]
    host: Text
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """587 with `starttls`, 465 with `ssl`, else 25."""
    security: Literal["starttls", "ssl", "none"] = "starttls"
    user: str | None = None
    password_env: VariableName | None = None
    """The variable that holds the password of `user`."""
    sender: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+$")]
    to: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+$")]],
        Field(min_length=1),
    ]

    @model_validator(mode="after")
    def _whole_login(self) -> EmailHook:
        if (self.user is None) != (self.password_env is None):
            raise ValueError("a login takes both `user` and `password_env`")
        if self.user is not None and self.security == "none":
            raise ValueError("a password is not sent without `starttls` or `ssl`")
        return self

    @property
    def port_used(self) -> int:
        return self.port or {"starttls": 587, "ssl": 465, "none": 25}[self.security]

    @property
    def target(self) -> str:
        return ", ".join(self.to)


Hook = Annotated[CommandHook | WebhookHook | EmailHook, Field(discriminator="kind")]


def shown_url(url: str) -> str:
    """Without its path, which may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def check_url(url: str) -> None:
    """Raises ValueError for what is no URL of HTTP, or has a login in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a webhook takes a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a login would show it; `token_env` names a token")
    _ = parts.port  # raises for one that is none
