"""Posts JSON to a URL: signed as the Standard Webhooks specification has it, once, in a time."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from orch.signing import signature

WORTH_RETRYING = frozenset({408, 425, 429})
AGENT = "orch-webhook/1"


@dataclass(frozen=True)
class Answer:
    """``body``: as much of it as was asked for."""

    status: int
    body: bytes = b""

    @property
    def accepts(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether another try may be accepted, where this one was not."""
        return self.status >= 500 or self.status in WORTH_RETRYING


def post(
    url: str,
    id: str,
    body: str,
    *,
    timeout: float,
    secret: str | None = None,
    token: str | None = None,
    most: int = 0,
) -> Answer:
    """Any status is an answer; a redirect is not followed.

    ``id``: the same however often it is posted. ``timeout``: s, for all of it. ``secret``: the key
    of the signature; ``token``: sent as `Authorization: Bearer`. ``most``: bytes of the answer
    that are read. Raises OSError, HTTPException; ValueError for a secret that is none.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    headers = _headers(id, body, secret, token)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    watch = threading.Timer(timeout, _hang_up, (connection,))
    watch.daemon = True
    watch.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body.encode(), headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(most) if most else b"")
    finally:
        watch.cancel()
        connection.close()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """The timeout of a socket is for each read: who sends a byte now and then outlives it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _headers(id: str, body: str, secret: str | None, token: str | None) -> dict[str, str]:
    # An id may hold whatever a path does; a header, only what is visible ASCII.
    named = f"msg_{hashlib.sha256(id.encode()).hexdigest()[:32]}"
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "webhook-id": named,
        "webhook-timestamp": str(now),
    }
    if secret is not None:
        headers["webhook-signature"] = signature(secret, named, now, body)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers
