"""A notice is posted to a URL."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from orch.errors import HookFailed
from orch.escalation.notice import Notice
from orch.escalation.signing import signature
from orch.escalation.variables import variable
from orch.hooks import WebhookHook, check_url

WORTH_RETRYING = frozenset({408, 425, 429})
AGENT = "orch-webhook/1"


def post(hook: WebhookHook, notice: Notice) -> None:
    """Any 2xx is an acceptance; a redirect is not followed. Raises HookFailed."""
    url = hook.url or variable(hook, hook.url_env or "")
    try:
        check_url(url)
        body = notice.body()
        headers = _headers(hook, notice, body)
    except ValueError as exc:
        raise HookFailed(f"hook {hook.name!r}: {exc}", retryable=False) from None
    try:
        status = _exchange(hook, url, body.encode(), headers)
    except ssl.SSLCertVerificationError as exc:
        message = f"hook {hook.name!r}: the certificate of {hook.target}: {exc.verify_message}"
        raise HookFailed(message, retryable=False) from None
    except (OSError, http.client.HTTPException) as exc:
        message = f"hook {hook.name!r}: {hook.target} does not answer: {type(exc).__name__}"
        raise HookFailed(f"{message}: {exc}"[:500], retryable=True) from None
    if not 200 <= status < 300:
        retryable = status >= 500 or status in WORTH_RETRYING
        message = f"hook {hook.name!r}: {hook.target} answers with HTTP {status}"
        raise HookFailed(message, retryable=retryable)


def _exchange(hook: WebhookHook, url: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=hook.timeout)
    watch = threading.Timer(hook.timeout, _hang_up, (connection,))
    watch.daemon = True
    watch.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        return connection.getresponse().status
    finally:
        watch.cancel()
        connection.close()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """The timeout of a socket is for each read: who sends a byte now and then outlives it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _headers(hook: WebhookHook, notice: Notice, body: str) -> dict[str, str]:
    # An id of a notice may hold whatever a path does; a header, only what is visible ASCII.
    id = f"msg_{hashlib.sha256(notice.id.encode()).hexdigest()[:32]}"
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "webhook-id": id,
        "webhook-timestamp": str(now),
    }
    if hook.secret_env is not None:
        secret = variable(hook, hook.secret_env)
        headers["webhook-signature"] = signature(secret, id, now, body)
    if hook.token_env is not None:
        headers["Authorization"] = f"Bearer {variable(hook, hook.token_env)}"
    return headers
