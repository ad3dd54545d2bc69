"""Which Redis: the one that is named, a local one if asked for, else the embedded one."""

from __future__ import annotations

from dataclasses import dataclass

from redis.exceptions import RedisError

from orch.embedded import Lease, acquire, find_local
from orch.errors import NoServer, Unreachable
from orch.journal.journal import open_redis, without_password
from orch.settings import Settings

LOCAL_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class Server:
    """A Redis that answered. ``lease`` keeps the embedded one alive while we use it."""

    url: str
    lease: Lease | None = None

    @property
    def embedded(self) -> bool:
        return self.lease is not None

    def close(self) -> None:
        if self.lease is not None:
            self.lease.close()


def find_server(settings: Settings) -> Server:
    """The Redis that the settings choose, after it has answered.

    Raises Unreachable when the one that is named does not answer, NoServer when none is
    named and none can be started.
    """
    if settings.redis_url:
        _ping(settings.redis_url)
        return Server(settings.redis_url)
    if settings.use_local_redis:
        if find_local(LOCAL_URL):
            return Server(LOCAL_URL)
        raise NoServer(
            f"ORCH_USE_LOCAL_REDIS is set, and nothing answers at {LOCAL_URL}",
            url=LOCAL_URL,
            hint="start Redis there, or unset ORCH_USE_LOCAL_REDIS",
        )
    lease = acquire(settings.data_dir)
    return Server(lease.url, lease)


def _ping(url: str) -> None:
    shown = without_password(url)
    try:
        client = open_redis(url, timeout=3.0)
        client.ping()
        client.close()
    except (RedisError, ValueError, OSError) as exc:
        raise Unreachable(
            f"Redis at {shown} does not answer: {exc}",
            url=shown,
            hint="start it, or set ORCH_REDIS_URL=redis://host:6379/0 to one that runs; "
            "without ORCH_REDIS_URL an embedded server is started",
        ) from exc
