"""Calls an operation of a service: in its rate, by its breaker, again where that may help."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orch.breaker import Breaker
from orch.errors import OrchError, RetryAfter, StepError
from orch.exchange import Answer, exchange
from orch.journal.breakers import bucket_of
from orch.journal.journal import Journal
from orch.limits import RateLimit
from orch.services.registry import ServiceRegistry
from orch.services.request import ServiceRequest, make_request, operation_of
from orch.services.service import ExternalService, ServiceOperation

AGENT = "orch-service/1"
LONGEST_PAUSE = 60.0
SHOWN = 500
"""Characters of an answer that an error tells."""

ReadSecret = Callable[[str], Any]
"""Name -> pydantic SecretStr. Raises StepError `SecretNotFound`."""


@dataclass(frozen=True)
class ServiceAnswer:
    """What a service answered. ``body``: a JSON value; text, where it is no JSON; None, if empty.

    ``headers``: by their names in small letters."""

    status: int
    body: Any
    headers: Mapping[str, str]


class ServiceCaller:
    """Calls services that are registered.

    ``key``: the idempotency key of what it does, which is sent along; without it, each call is
    one of its own. ``check``: called before each try, raises where nobody wants it any more.
    """

    def __init__(self, journal: Journal, read_secret: ReadSecret) -> None:
        self.journal = journal
        self.registry = ServiceRegistry(journal)
        self.read_secret = read_secret

    def call(
        self,
        name: str,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> ServiceAnswer:
        """Raises NotFound for a service or an operation that there is not, InputError for wrong
        parameters, StepError `SecretNotFound`, `ServiceUnavailable`, `ServiceRefused`,
        `ServiceAnswerTooLarge`, `BreakerOpen`, RetryAfter where its rate is used up, Unreachable.
        """
        service = self.registry.get(name)
        found = operation_of(service, operation)
        request = self._signed(service, make_request(service, operation, parameters), key)
        tries, pause = service.retries + 1, service.retry_interval
        while True:
            tries -= 1
            check()
            self._wait_for_slot(service)
            try:
                return self._once(service, operation, found, request)
            except _Again as again:
                if not tries or not (found.may_repeat or again.was_not_sent):
                    raise again.error from None
                time.sleep(min(max(pause, again.pause), LONGEST_PAUSE))
                pause *= 2

    def _signed(
        self, service: ExternalService, request: ServiceRequest, key: str | None
    ) -> ServiceRequest:
        """With who we are, and the key by which the service knows a repetition."""
        headers = {**request.headers, "User-Agent": AGENT}
        headers["Idempotency-Key"] = key or uuid.uuid4().hex
        if (auth := service.auth) is not None:
            secret = self._secret(auth.secret)
            match auth.kind:
                case "bearer":
                    headers["Authorization"] = f"Bearer {secret}"
                case "basic":
                    login = base64.b64encode(f"{auth.user}:{secret}".encode()).decode()
                    headers["Authorization"] = f"Basic {login}"
                case "header":
                    headers[auth.header or ""] = secret
        return ServiceRequest(request.method, request.url, headers, request.body)

    def _secret(self, name: str) -> str:
        """Checked here, since a client that refuses a header tells what stands in it."""
        found = str(self.read_secret(name).get_secret_value())
        if not found or not found.isascii() or not found.isprintable():
            raise StepError(
                "SecretNotFound",
                f"the secret {name!r} is empty, or has other characters than printable ASCII",
                hint="mind line ends: that of the last line is cut, others are not",
                error_class="permanent",
            )
        return found

    def _wait_for_slot(self, service: ExternalService) -> None:
        if service.rate_limit is None:
            return
        rate = RateLimit.parse(service.rate_limit)
        free, wait = self.journal.take_slot(service.name, rate, int(service.timeout * 1000))
        if not free:
            raise RetryAfter(
                f"service {service.name!r} may be called {rate}, and its next call is "
                f"{wait / 1000:.1f} s away",
                seconds=wait / 1000,
                name="RateLimited",
            )
        time.sleep(wait / 1000)

    def _once(
        self,
        service: ExternalService,
        name: str,
        operation: ServiceOperation,
        request: ServiceRequest,
    ) -> ServiceAnswer:
        guard = _Guard(self.journal, service)
        guard.ask()
        what = f"operation {name!r} of service {service.name!r}"
        most = service.response_limit
        try:
            answer = exchange(
                request.method,
                request.url,
                request.headers,
                request.body,
                timeout=service.timeout,
                most=most + 1,
            )
        except ssl.SSLCertVerificationError as exc:
            guard.tell(f"{what}: its certificate: {exc.verify_message}")
            raise _refused(f"{what}: its certificate: {exc.verify_message}") from None
        except (OSError, http.client.HTTPException) as exc:
            error = _unavailable(f"{what} does not answer: {type(exc).__name__}: {exc}"[:SHOWN])
            guard.tell(error.message)
            raise _Again(error, was_not_sent=isinstance(exc, ConnectionRefusedError)) from None
        guard.tell(f"{what} answers with HTTP {answer.status}" if answer.may_pass else "")
        return _read(what, service, operation, answer)


class _Again(Exception):
    """A try that failed in a way that may pass; ``pause``: s that the service asks for."""

    def __init__(self, error: StepError, *, was_not_sent: bool = False, pause: float = 0) -> None:
        super().__init__(error.message)
        self.error = error
        self.was_not_sent = was_not_sent
        self.pause = pause


class _Guard:
    """The breaker of a service, for one try. Where it has none, all is let through."""

    def __init__(self, journal: Journal, service: ExternalService) -> None:
        self.journal = journal
        self.service = service
        self.breaker: Breaker | None = service.breaker
        self.attempt = uuid.uuid4().hex

    def ask(self) -> None:
        """Raises StepError `BreakerOpen`."""
        if self.breaker is None:
            return
        found = self.journal.ask_breaker(
            self.service.guarded, self.breaker, self.attempt, wants=True
        )
        if not found.lets_through:
            raise StepError(
                "BreakerOpen",
                f"the breaker of service {self.service.name!r} is open: too many of its calls "
                "failed",
                hint=f"`orch breakers show {self.service.guarded}` shows it, and `close` closes it",
                error_class="transient",
            )

    def tell(self, why: str) -> None:
        """What the try came to; ``why``: how it failed, '' if it did not."""
        if self.breaker is None:
            return
        calls = [(bucket_of(self.breaker, self.journal.clock()), 1, int(bool(why)))]
        with suppress(OrchError):  # what the service answered counts more than its statistics
            self.journal.ask_breaker(
                self.service.guarded,
                self.breaker,
                self.attempt,
                ended="bad" if why else "ok",
                calls=calls,
                why=why[:300],
            )


def _read(
    what: str, service: ExternalService, operation: ServiceOperation, answer: Answer
) -> ServiceAnswer:
    if len(answer.body) > service.response_limit:
        raise StepError(
            "ServiceAnswerTooLarge",
            f"{what} answers with more than {service.response_limit:,} bytes",
            hint="ask for less, or raise `responseLimit` of the service",
            error_class="permanent",
        )
    expected = answer.status in operation.expects if operation.expects else answer.accepts
    if expected:
        return ServiceAnswer(answer.status, _body(answer), answer.headers)
    said = answer.body.decode("utf-8", "replace").strip()[:SHOWN]
    message = f"{what} answers with HTTP {answer.status}" + (f": {said}" if said else "")
    if answer.may_pass:
        pause = _seconds(answer.headers.get("retry-after", ""))
        error = _unavailable(message, answer.status)
        raise _Again(error, was_not_sent=answer.status == 429, pause=pause)
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "nowhere")[:200]
        raise _refused(
            f"{what} answers with HTTP {answer.status}, to {place}: redirects are not followed",
            answer.status,
        )
    raise _refused(message, answer.status)


def _body(answer: Answer) -> Any:
    if not answer.body:
        return None
    text = answer.body.decode("utf-8", "replace")
    with suppress(ValueError):
        return json.loads(text)
    return text


def _seconds(text: str) -> float:
    """Of a `Retry-After`; instants count as none."""
    return float(text) if text.isdecimal() else 0.0


def _refused(message: str, status: int | None = None) -> StepError:
    return StepError("ServiceRefused", message, data={"status": status}, error_class="permanent")


def _unavailable(message: str, status: int | None = None) -> StepError:
    return StepError(
        "ServiceUnavailable", message, data={"status": status}, error_class="transient"
    )
