"""Where a server of ours listens."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"

# Below the range from which kernels take the ports of outgoing connections: a client that
# reconnects in a loop to a port of that range can be given that very port, and then it is
# connected to itself and the server can never have it back.
_PORTS = range(20_000, 30_000)


def url_of(port: int, password: str) -> str:
    return f"redis://:{password}@{HOST}:{port}/0"


def free_port(preferred: int | None = None) -> int:
    candidates = random.SystemRandom().sample(_PORTS, 50)
    for port in [preferred, *candidates] if preferred else candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")
