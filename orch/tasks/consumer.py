"""The worker's consumer, with a shorter wait before it tries to reach the broker again."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from orch.tasks.carrying import carry_at_once


class PromptConsumer(Consumer):
    """Tries again after 0.2, 0.4 … 2 s.

    Celery waits 2, 4, 6 … 30 s and has no setting for it: after a Redis that was away for a
    minute, its workers stay idle for up to half a minute more.
    """

    _woken: socket.socket | None = None

    class Blueprint(Consumer.Blueprint):
        """Without what Celery declares for messages with a delay, 28 exchanges and as many queues:
        nothing here has one."""

        default_steps = [  # noqa: RUF012
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.hub is not None:
            remove_writers_once(self.hub)
            self._woken = wake_by_signals()

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        carry_at_once(self.pool, hub)
        if self._woken is not None:
            hub.add_reader(self._woken, _drain, self._woken)
        if self.connection.transport.driver_type == "amqp":
            hub.on_tick.add(self._turn_at_once)

    def _turn_at_once(self) -> None:
        """Have the event loop not wait while callbacks wait for their turn.

        It runs those that are ready, then waits for up to 10 s for something to happen, and what
        they have made ready meanwhile waits as well: the next message that came with the last
        one, or the word that a step is done. So it is in kombu 5.7.
        """
        if self.hub._ready and self.hub._waker is not None:
            self.hub._waker.wake()

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.2, interval_step=0.2, interval_max=2
        )
        return super().ensure_connected(conn)


def wake_by_signals() -> socket.socket | None:
    """Readable as soon as a signal has come; None in a thread, to which none comes.

    The handler runs in any case, but the event loop then goes on waiting, for up to a second,
    before it sees that it is to end.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    return reader


def _drain(reader: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        reader.recv(4096)


REMOVED_EVERY = 1.0
"""Seconds after which a writer that is not there is removed from the event loop again."""


def remove_writers_once(hub: Any) -> None:
    """Let the event loop forget a writer once, where nothing is to be written.

    At each turn of the loop, of which a message takes four, the pool removes the pipes to all of
    its processes, a call to the system for each.
    """
    remove, removed = hub.remove_writer, dict[Any, float]()

    def remove_writer(fd: Any) -> None:
        now = time.monotonic()
        if fd in hub.writers or now - removed.get(fd, float("-inf")) >= REMOVED_EVERY:
            remove(fd)
            removed[fd] = now

    hub.remove_writer = remove_writer
