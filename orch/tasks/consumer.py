"""The worker's consumer, with a shorter wait before it tries to reach the broker again."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer


class PromptConsumer(Consumer):
    """Tries again after 0.2, 0.4 … 2 s.

    Celery waits 2, 4, 6 … 30 s and has no setting for it: after a Redis that was away for a
    minute, its workers stay idle for up to half a minute more.
    """

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.2, interval_step=0.2, interval_max=2
        )
        return super().ensure_connected(conn)
