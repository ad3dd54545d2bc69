"""A worker that takes nothing new: it finishes what it has, and leaves, or waits to be wanted.

It is told so in the journal (`orch agents drain`), or by SIGTERM. Celery's own answer to SIGTERM
stops the event loop first: messages that its pool has not begun with are thrown away, and a pool
whose last results nobody reads takes half a minute to end. Here the loop goes on until nothing is
left to do, and an idle worker ends.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from billiard.common import REMAP_SIGTERM
from celery import signals
from celery.platforms import EX_OK
from celery.worker import WorkController
from celery.worker import state as worker_state
from celery.worker.control import control_command
from kombu.common import ignore_errors

from orch.app import LOOK
from orch.errors import OrchError, Unreachable
from orch.journal.journal import Journal
from orch.workflows.agents import Drain

logger = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between looks at what is asked of this worker, where nobody has told it to look."""

SHORTEST, LONGEST = 1.0, 60.0
"""Seconds between looks of a drained worker at its own queues, twice as long each time: what must
wait for it is taken out and put back each time, and those who send know of it within a second."""

UNHEARD = 2.0
"""Seconds after which a main loop that does not let go of its queues has lost its broker."""

on_told: Callable[[], None] | None = None
"""Set by the worker: somebody has asked something of it."""

_flag = mmap.mmap(-1, 1)
"""Shared with the processes that a pool forks."""


def is_draining() -> bool:
    """Whether this worker takes nothing new; known in the processes of its pool, too."""
    return _flag[0] != 0


@control_command(name=LOOK)
def look(state: Any) -> None:
    """Celery's remote control: see in the journal what is asked of this worker."""
    del state
    if on_told is not None:
        on_told()


class Draining:
    """Of one worker; used by its warden's thread, but for what says otherwise.

    ``leaves``: it ends when it has finished. ``ended``: so did what it had no time to finish.

    ``incarnation``: the life of the worker. ``hand_on``: gives what lies in the worker's own
    queues to others, as far as that may be.
    """

    leaves = False
    ended = False
    asked: Drain | None = None
    _looked = float("-inf")
    _next = float("-inf")  # when it hands on what waits for it
    _pause = SHORTEST
    _since = 0.0
    _signalled = False
    _limit: float | None = None

    def __init__(
        self,
        worker: WorkController,
        journal: Journal,
        incarnation: str,
        hand_on: Callable[[], object],
    ) -> None:
        self._worker = worker
        self._journal = journal
        self._incarnation = incarnation
        self._hand_on = hand_on
        self._let_go: list[str] | None = None
        _flag[0] = 0

    def look_now(self, wake: Callable[[], None]) -> None:
        """Have the warden see at once what is asked; called in the main thread."""
        self._looked = float("-inf")
        wake()

    def begin(self, wake: Callable[[], None]) -> None:
        """Called in the main thread, before a message is taken: be drained if it was asked before,
        and take SIGTERM upon itself. ``wake``: has the warden look; it takes no lock."""
        global on_told
        on_told = partial(self.look_now, wake)
        with contextlib.suppress(Unreachable):
            self._read()
        if self.asked is not None:
            self._take_nothing()
        if threading.current_thread() is threading.main_thread():
            self._on_sigterm(wake)

    def _on_sigterm(self, wake: Callable[[], None]) -> None:
        """The first signal drains; from the second on they are Celery's."""
        before, own = signal.getsignal(signal.SIGTERM), os.getpid()

        def drain(number: int, frame: FrameType | None) -> None:
            if os.getpid() == own:
                signal.signal(signal.SIGTERM, before)
                self._signalled = True
                _flag[0] = 1
                wake()

        signal.signal(signal.SIGTERM, drain)

    # --- in the warden's thread --------------------------------------------------------------

    def look(self) -> bool:
        """See what is asked; whether that changes what this worker takes."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._read()
        if self._signalled and not self.leaves:
            self.leaves = True
            if REMAP_SIGTERM == "SIGQUIT":
                patience = self._worker.app.conf.worker_soft_shutdown_timeout
                self._limit = time.monotonic() + patience
        wanted = self._signalled or self.asked is not None
        if wanted == bool(self._since):
            return False
        if wanted:
            self._since = time.monotonic()
            _flag[0] = 1
            logger.info("this worker takes nothing new, and finishes what it has")
            if self._let_go is None:
                self._worker.consumer.call_soon(self._take_nothing)
        else:
            self._since = 0.0
            _flag[0] = 0
            logger.info("this worker takes messages again")
            self._worker.consumer.call_soon(self._take_again)
        return True

    def go_on(self) -> None:
        """While it drains: hand on, and leave when nothing is left to do. Raises nothing."""
        if not self._since or not self._has_let_go():
            return
        busy = worker_state.reserved_requests or worker_state.active_requests
        leaves_now = self.leaves and not busy and worker_state.should_stop is None
        if leaves_now or time.monotonic() >= self._next:
            self._hand_on_what_waits(leaves_now)
        if leaves_now:
            self._leave()
        if busy and self._limit is not None and time.monotonic() >= self._limit:
            self._end_at_once()

    def _hand_on_what_waits(self, leaves: bool) -> None:
        """Also while it is busy: what waits for it may be long in coming."""
        self._next = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST)
        try:
            self._hand_on()
            if leaves and self.asked is not None and not self.asked.stay:
                self._journal.forget_drain(self._worker.hostname)
        except OrchError as exc:
            logger.warning("what waits for this worker is left to the watch: %s", exc)

    def _read(self) -> None:
        name = self._worker.hostname
        self._looked = time.monotonic()
        asked = self._journal.read_drain(name)
        if asked is not None and not asked.means(self._incarnation):
            self._journal.forget_drain(name)
            asked = None
        if asked != self.asked:
            self._next, self._pause = float("-inf"), SHORTEST
        self.asked = asked
        self.leaves = self.leaves or (asked is not None and not asked.stay)

    def _has_let_go(self) -> bool:
        return self._let_go is not None or time.monotonic() - self._since >= UNHEARD

    def _leave(self) -> None:
        """As Celery does at SIGTERM, but that there is nothing left to wait for."""
        signals.worker_shutting_down.send(
            sender=self._worker.hostname, sig="SIGTERM", how="Warm", exitcode=EX_OK
        )
        worker_state.should_stop = EX_OK
        self._worker.consumer.call_soon(_wake_up)

    def _end_at_once(self) -> None:
        """The time for a soft shutdown is over: what runs is ended, too."""
        self._limit, self.ended = None, True
        self._worker.app.conf.worker_soft_shutdown_timeout = 0.0
        os.kill(os.getpid(), signal.SIGTERM)

    # --- in the main thread --------------------------------------------------------------------

    def _take_nothing(self) -> None:
        queues, consumer = self._worker.app.amqp.queues, self._worker.consumer
        names = list(queues.consume_from)
        taken = getattr(consumer, "task_consumer", None)
        for name in names:
            queues.deselect(name)
            if taken is not None:
                _try(consumer, taken.cancel_by_queue, name)
        if taken is not None and hasattr(taken.channel, "unblock"):
            _try(consumer, taken.channel.unblock)
        self._let_go = names

    def _take_again(self) -> None:
        names, self._let_go = self._let_go or [], None
        for name in names:
            self._worker.consumer.add_task_queue(name)


def _try(consumer: Any, act: Callable[..., Any], *given: Any) -> None:
    """Where its connection is lost, nothing is taken in any case."""
    ignore_errors(consumer, act, *given)  # type: ignore[no-untyped-call]


def _wake_up() -> None:
    """Have the event loop look whether it is to end."""
