"""One request over HTTP, and its answer: any status is one, in a time, of a bounded size."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

WORTH_RETRYING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Answer:
    """``body``: as much of it as was asked for; ``headers``: by their names in small letters."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepts(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether another try may be accepted, where this one was not."""
        return self.status >= 500 or self.status in WORTH_RETRYING


def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: str | None,
    *,
    timeout: float,
    most: int,
) -> Answer:
    """A redirect is not followed. ``timeout``: s, for all of it; ``most``: bytes that are read.

    Raises OSError, HTTPException.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    watch = threading.Timer(timeout, _hang_up, (connection,))
    watch.daemon = True
    watch.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = None if body is None else body.encode()
        connection.request(method, target, sent, dict(headers))
        with connection.getresponse() as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            content = answer.read(most) if most else b""
            if answer.length and len(content) < most:  # `read(most)` does not say so itself
                raise http.client.IncompleteRead(content, answer.length)
            return Answer(answer.status, content, found)
    finally:
        watch.cancel()
        connection.close()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """The timeout of a socket is for each read: who sends a byte now and then outlives it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
