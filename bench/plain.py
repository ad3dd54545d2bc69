"""Plain Celery, as its worker and as its client see it: ``stock`` and ``tuned``.

=======  =========================================================================
stock    Celery's defaults: results kept, early acknowledgement
tuned    late acknowledgement, messages of dead processes given back, results ignored
         (but for the last of a canvas, which the client waits for); hiredis reads
         the replies, as it does for all
=======  =========================================================================
"""

from __future__ import annotations

import os
import time

from celery import Celery
from redis import Redis

STOCK, TUNED = "stock", "tuned"
URL_VARIABLE, VARIANT_VARIABLE = "BENCH_URL", "BENCH_VARIANT"
HOLD, HOLDERS = 0.1, "bench:holders"
WORK = 0.01


def make_app(variant: str, url: str) -> Celery:
    """A Celery app with one task that does nothing; its broker and backend are ``url``."""
    made = Celery("bench", broker=url, backend=url, set_as_current=False)
    made.conf.broker_connection_retry_on_startup = True
    if variant == TUNED:
        made.conf.task_acks_late = True
        made.conf.task_reject_on_worker_lost = True
        made.conf.task_ignore_result = True

    @made.task(name="bench.noop", shared=False)
    def noop() -> None:
        """Do nothing."""

    @made.task(name="bench.hold", shared=False)
    def hold() -> None:
        """Take a while."""
        hold_on()

    @made.task(name="bench.work", shared=False)
    def work() -> None:
        """Take `WORK` seconds."""
        time.sleep(WORK)

    return made


def hold_on() -> None:
    """Say which process is at work, and its parent, and take `HOLD` seconds."""
    with Redis.from_url(os.environ[URL_VARIABLE]) as redis:
        redis.rpush(HOLDERS, f"{os.getpid()} {os.getppid()}")
    time.sleep(HOLD)


if VARIANT_VARIABLE in os.environ:
    app = make_app(os.environ[VARIANT_VARIABLE], os.environ[URL_VARIABLE])
