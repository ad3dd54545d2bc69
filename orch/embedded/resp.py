"""The little of RESP that is needed: one command, and whether a server answers."""

from __future__ import annotations

import socket
import time
from urllib.parse import unquote, urlsplit

from orch.embedded.address import HOST

LOCAL_URL = "redis://127.0.0.1:6379/0"


def find_local(url: str = LOCAL_URL, *, timeout: float = 0.3) -> bool:
    """Whether a Redis answers PING at `url` within `timeout` seconds, with the URL's password."""
    parts = urlsplit(url)
    return answers(
        parts.port or 6379,
        unquote(parts.password or ""),
        host=parts.hostname or HOST,
        user=unquote(parts.username or ""),
        timeout=timeout,
    )


def answers(
    port: int, password: str, *, host: str = HOST, user: str = "", timeout: float = 0.5
) -> bool:
    """Whether a server is there, lets us in, and has loaded its data."""
    return command(port, password, "PING", host=host, user=user, timeout=timeout) == b"+PONG"


def command(
    port: int,
    password: str,
    command: str,
    *,
    host: str = HOST,
    user: str = "",
    timeout: float = 0.5,
) -> bytes:
    """Send one command without arguments; its reply's first line, or b"" if refused.

    Nothing is sent after a refused password: the port may belong to a stranger by now.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            deadline = time.monotonic() + timeout
            login = ["AUTH", *([user] if user else []), password] if password else []
            reply = b""
            for words in filter(None, (login, [command])):
                if words is not login and login and reply != b"+OK":
                    return b""
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                reply = _receive_line(connection, deadline)
            return reply
    except OSError:
        return b""


def listens(port: int, *, host: str = HOST, timeout: float = 0.5) -> bool:
    """Whether a server takes connections, though it may be too busy to answer."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False


def _receive_line(connection: socket.socket, deadline: float) -> bytes:
    received = b""
    while not received.endswith(b"\r\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = connection.recv(4096)
        if not chunk:
            return b""
        received += chunk
    return received.splitlines()[0]
