"""What is done to a journal as a whole, and not by its workers."""

from __future__ import annotations

from orch.journal.journal import Journal, open_redis
from orch.server import find_server
from orch.settings import Settings


def reindex(settings: Settings) -> int:
    """Write the index anew, also of an older layout; how many executions there are.

    Raises Unreachable, NoServer, PartitionMismatch.
    """
    server = find_server(settings)
    try:
        redis = open_redis(server.url)
        try:
            journal = Journal(redis, settings, url=server.url)
            journal.check_partitions()
            return journal.index_again()
        finally:
            redis.close()
    finally:
        server.close()
