"""Celery's beat, with the schedules of Redis: `celery -A beat beat`, as many as one likes.

One of them leads, as long as it says so every second; the others wait until it does not any more.
What leads tends the schedules of Redis, and sends the tasks of `beat_schedule`, if the app has any.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from typing import Any

from celery import Celery
from celery.beat import Scheduler

from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.ticking import Ticker
from orch.errors import Unreachable
from orch.faults import arm
from orch.server import Server, find_server
from orch.settings import Settings, load_settings

logger = logging.getLogger(__name__)

LONGEST = 1.0
"""Seconds between looks: at schedules that somebody changes, and at who leads."""

RETRIED_EVERY = 0.5
"""Seconds between looks at a Redis that is away."""


class LeadingScheduler(Scheduler):
    """The scheduler that the app names as `beat_scheduler`. A tick never raises: beat goes on."""

    def __init__(self, app: Celery, *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        self._ticker: Ticker | None = None
        self._leads = False
        self._away = False
        self.me = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        super().__init__(app, *args, lazy=lazy, **kwargs)
        if not lazy:
            settings, server = getattr(app, "orch_beat", None) or _find()
            arm(settings.fault_point)
            self.ttl = int(settings.beat_ttl * 1000)
            self._server = server  # an embedded one lives as long as somebody holds it
            self._ticker = Ticker(WorkflowManager(Runtime(settings, server.url, app)))

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Seconds until the next one."""
        assert self._ticker is not None
        journal = self._ticker.journal
        began = time.monotonic()
        try:
            leads, who = journal.lead(self.me, self.ttl)
            self._say(leads, who)
            if not leads:
                return min(LONGEST, self.ttl / 3000)
            due = self._ticker.tick()
            own = super().tick(*args, **kwargs) if self.schedule else LONGEST
        except Unreachable as exc:
            if not self._away:
                logger.warning("beat waits: %s", exc)
            self._away = True
            return RETRIED_EVERY
        except Exception:
            logger.exception("beat met an error that it does not know")
            return RETRIED_EVERY
        self._away = False
        until = LONGEST if due is None else max((due - journal.clock()) / 1000, 0.0)
        rest = max(LONGEST - (time.monotonic() - began), 0.0)
        return float(min(until, own, rest))

    def close(self) -> None:
        """End, and let another one lead at once."""
        if self._ticker is not None:
            try:
                self._ticker.journal.lead(self.me, self.ttl, ends=True)
            except Unreachable:
                logger.debug("who leads is found out by the others", exc_info=True)
        super().close()

    def _say(self, leads: bool, who: str) -> None:
        if leads and not self._leads:
            logger.info("this beat leads: %s", self.me)
        elif self._leads and not leads:
            logger.warning("this beat leads no more: %s does", who)
        self._leads = leads


def _find() -> tuple[Settings, Server]:
    settings = load_settings()
    return settings, find_server(settings)
