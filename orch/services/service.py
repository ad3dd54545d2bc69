"""What is registered of a service outside: where it is, and what one may ask of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from orch.breaker import Breaker
from orch.errors import SettingsError
from orch.limits import RateLimit
from orch.workflows.model import Model

ServiceName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=100)
]
Parameter = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
Path = Annotated[
    str, StringConstraints(pattern=r"^/[\x21\x22\x24-\x3e\x40-\x7e]*$", max_length=2000)
]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=100)]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=2000)]
SecretName = Annotated[
    str, StringConstraints(pattern=r"^service\.[A-Za-z0-9_.-]+$", max_length=200)
]
"""A secret that a service may name: whoever registers one must not get others sent to its URL."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE")
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
OURS = frozenset(("authorization", "content-length", "host", "idempotency-key", "user-agent"))
"""Headers that nobody declares: they are made for each call."""

MOST_ANSWERED = 16_777_216


class ServiceAuth(Model):
    """How one shows who one is. The secret itself is never here: it is named."""

    kind: Literal["bearer", "basic", "header"] = "bearer"
    secret: SecretName
    """Name of the secret, `service.…`: a file of `secrets_dir`, or a variable."""
    user: str | None = None
    """Of `basic`: the user, whose password the secret is."""
    header: HeaderName | None = None
    """Of `header`: the header whose value the secret is, such as `X-Api-Key`."""

    @model_validator(mode="after")
    def _whole(self) -> ServiceAuth:
        for kind, field in (("basic", self.user), ("header", self.header)):
            name = "user" if kind == "basic" else "header"
            if (self.kind == kind) != (field is not None):
                raise ValueError(f"`{name}` goes with the kind `{kind}`, and is needed there")
        return self


class ServiceOperation(Model):
    """One thing that a service does."""

    method: Method = "GET"
    path: Annotated[
        str, StringConstraints(pattern=r"^/[\x21\x22\x24-\x3e\x40-\x7e]*$", max_length=2000)
    ]
    """Behind the URL of the service: `/orders/{id}`; what is in braces is a parameter."""
    query: list[Parameter] = Field(default_factory=list)
    """Parameters that go into the query."""
    body: list[Parameter] | Parameter | None = None
    """Parameters that are the fields of the body, a JSON object; a single name: the value of this
    one is the body."""
    required: list[Parameter] = Field(default_factory=list)
    """Those of them that must be given; those of the path always must."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    expects: list[Annotated[int, Field(ge=100, le=599)]] = Field(default_factory=list)
    """Statuses that are a success; without any, 200 to 299."""
    idempotent: bool | None = None
    """Whether a second call does no harm, so that it may be repeated; without it, GET, HEAD, PUT
    and DELETE are."""
    description: str | None = None

    @field_validator("headers")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        return check_headers(value)

    @model_validator(mode="after")
    def _told_apart(self) -> ServiceOperation:
        names = [*self.in_path, *self.query, *self.in_body]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the parameter {twice[0]!r} has two places")
        unknown = sorted(set(self.required) - set(names))
        if unknown:
            raise ValueError(f"`required` names {unknown[0]!r}, which has no place")
        if self.body is not None and self.method in ("GET", "HEAD"):
            raise ValueError(f"{self.method} has no body")
        return self

    @property
    def in_path(self) -> list[str]:
        return list(dict.fromkeys(PLACEHOLDER.findall(self.path)))

    @property
    def in_body(self) -> list[str]:
        return [self.body] if isinstance(self.body, str) else list(self.body or ())

    @property
    def parameters(self) -> list[str]:
        """All that it takes."""
        return [*self.in_path, *self.query, *self.in_body]

    @property
    def needed(self) -> list[str]:
        return list(dict.fromkeys([*self.in_path, *self.required]))

    @property
    def may_repeat(self) -> bool:
        return self.method in IDEMPOTENT if self.idempotent is None else self.idempotent


class ExternalService(Model):
    """A service that is asked over HTTP. Times are seconds."""

    name: ServiceName
    url: Annotated[str, StringConstraints(max_length=2000)]
    """http or https, host, and where all operations begin; no login, query or fragment."""
    operations: Annotated[dict[ServiceName, ServiceOperation], Field(min_length=1, max_length=500)]
    description: str | None = None
    auth: ServiceAuth | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Sent with each call; secrets are for `auth`."""
    timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    """For each try."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Tries after the first one, where it may help and does no harm."""
    retry_interval: Annotated[float, Field(ge=0, le=60)] = 0.5
    """Before the first of them; twice as long each time."""
    rate_limit: str | None = None
    """Calls in a time over all callers: `50/s`, `100/m`, `50/s burst 100`."""
    breaker: Breaker | None = None
    """When its calls are stopped, by all callers."""
    response_limit: Annotated[int, Field(ge=1, le=MOST_ANSWERED)] = 1_048_576
    """The largest answer, bytes."""

    @field_validator("url")
    @classmethod
    def _is_one(cls, value: str) -> str:
        check_base(value)
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        return check_headers(value)

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            _checked(RateLimit.parse, value)
        return value

    @field_validator("breaker", mode="before")
    @classmethod
    def _is_a_breaker(cls, value: Any) -> Any:
        return None if value is None else _checked(Breaker.of, value)

    @property
    def guarded(self) -> str:
        """Under which name its breaker is known."""
        return f"service.{self.name}"

    def content(self) -> dict[str, Any]:
        """As it is kept, and shown."""
        found = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if self.breaker is not None:
            found["breaker"] = self.breaker.as_dict()
        return found


def check_base(url: str) -> None:
    """Raises ValueError for what is no URL that paths can be put behind."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a service takes a URL of http or https, with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a login would show it; `auth` names a secret")
    if parts.query or parts.fragment or not re.fullmatch(r"[!-z|~]+", url):
        raise ValueError("the URL of a service is ASCII, without query, fragment, blank or brace")
    _ = parts.port  # raises for one that is none


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if name.lower() in OURS:
            raise ValueError(f"the header {name} is made for each call; `auth` names a secret")
    return headers


def _checked(make: Any, value: Any) -> Any:
    try:
        return make(value)
    except SettingsError as exc:
        raise ValueError(f"{exc.message}; {exc.hint}") from None
