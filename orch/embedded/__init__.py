"""A real Redis (Valkey) that belongs to a data directory and needs no administration.

Every process that calls ``acquire(".orch")`` gets the same server. The first one starts it, and
when the last one has ended, however it ended, the server saves its data and ends too.

Who is alive is answered by kernel locks alone, never by pid files: a lock goes with its process,
so nothing is stale after ``kill -9`` or a power cut, and a reused pid deceives nobody.

    users.lock    shared, by every process that uses the server, for as long as it does
    start.lock    exclusive, by the one that starts a keeper, until the server answers
    keeper.lock   exclusive, by the keeper, for life
    server.lock   exclusive, by the server, for life: it inherits the locked descriptor

The keeper (``python -m orch.embedded <data directory>``) is a small detached process, the parent
of the server: it starts it, starts it again when it dies, and ends it when an exclusive lock on
``users.lock`` succeeds. It holds that lock until the server is down, so that a newcomer waits for
the end and then starts afresh, instead of getting the address of a server about to go.

The keeper runs without site-packages: this package may import the standard library only.
"""

from orch.embedded.keeper import LINGER
from orch.embedded.lease import EmbeddedServer, Lease, acquire
from orch.embedded.program import find_binary
from orch.embedded.resp import LOCAL_URL, find_local
from orch.embedded.temporary import Ephemeral, ephemeral

__all__ = [
    "LINGER",
    "LOCAL_URL",
    "EmbeddedServer",
    "Ephemeral",
    "Lease",
    "acquire",
    "ephemeral",
    "find_binary",
    "find_local",
]
