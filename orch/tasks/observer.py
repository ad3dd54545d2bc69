"""The part of a worker that observes the whole, where `monitor_interval` is set.

A thread of its own with a Redis client of its own: what it reads may be slow. Of many workers one
observes; when it is gone, another one does, after twice the interval.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.worker import WorkController

from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.monitoring.observer import Observer
from orch.settings import Settings
from orch.tasks.incarnation import current_incarnation

logger = logging.getLogger(__name__)

LEADS_FOR = 2.5
"""Intervals for which a worker is believed to observe after it said so."""

LEAST_LEASE = 1000
"""Ms."""


class Watcher:
    """Observes every ``settings.monitor_interval`` seconds until it is stopped."""

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        self.pause = settings.monitor_interval
        self.me = current_incarnation()
        self.observer = Observer(Runtime(settings, url, app))
        self.journal = self.observer.journal
        self._lease = max(int(LEADS_FOR * self.pause * 1000), LEAST_LEASE)
        self._leads = False
        self._problem = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orch-observer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the observation at hand, and lets another worker observe."""
        self._end.set()
        self._thread.join(timeout=5)
        try:
            if self._leads:
                self.journal.lead_observers(self.me, self._lease, ends=True)
        except OrchError:
            logger.debug("who observes next is left to the lease: Redis is away")

    def _run(self) -> None:
        while not self._end.wait(self.pause):
            try:
                self.tick()
                self._problem = ""
            except OrchError as exc:
                self._say(f"nobody observes how it goes: {exc.message}")
            except Exception:
                logger.exception("an observation met an error that it does not know")
            self.journal.redis.close()  # many workers wait, and each connection costs Redis

    def tick(self) -> None:
        """Observe, if nobody else does. Raises Unreachable."""
        self._leads = self.journal.lead_observers(self.me, self._lease)
        if self._leads:
            self.observer.observe()

    def _say(self, problem: str) -> None:
        """Once, not every minute of a night."""
        if problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem


class ObserverStep(bootsteps.StartStopStep):
    """Starts it with the worker; made known by `orch.tasks.worker`."""

    def __init__(self, parent: WorkController, **options: Any) -> None:
        super().__init__(parent, **options)
        self.watcher: Watcher | None = None

    def start(self, parent: WorkController) -> None:
        self.watcher = parent.app.orch_make_watcher()
        if self.watcher is not None:
            self.watcher.start()

    def stop(self, parent: WorkController) -> None:
        if self.watcher is not None:
            self.watcher.stop()

    terminate = stop
