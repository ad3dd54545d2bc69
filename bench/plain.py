"""Plain Celery, as its worker and as its client see it: ``stock`` and ``tuned``.

=======  =========================================================================
stock    Celery's defaults: results kept, early acknowledgement
tuned    late acknowledgement, results ignored (but for the last of a canvas, which
         the client waits for)
=======  =========================================================================
"""

from __future__ import annotations

import os

from celery import Celery

STOCK, TUNED = "stock", "tuned"
URL_VARIABLE, VARIANT_VARIABLE = "BENCH_URL", "BENCH_VARIANT"


def make_app(variant: str, url: str) -> Celery:
    """A Celery app with one task that does nothing; its broker and backend are ``url``."""
    made = Celery("bench", broker=url, backend=url, set_as_current=False)
    made.conf.broker_connection_retry_on_startup = True
    if variant == TUNED:
        made.conf.task_acks_late = True
        made.conf.task_ignore_result = True

    @made.task(name="bench.noop", shared=False)
    def noop() -> None:
        """Do nothing."""

    return made


if URL_VARIABLE in os.environ:
    app = make_app(os.environ[VARIANT_VARIABLE], os.environ[URL_VARIABLE])
