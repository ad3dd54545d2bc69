"""Signals, as the keeper takes them."""

from __future__ import annotations

import contextlib
import signal
import socket


class Alarm:
    """From its making on, SIGTERM and SIGINT set ``told_to_end`` and end nothing by themselves."""

    def __init__(self) -> None:
        self.told_to_end = False
        self._bell, ring = socket.socketpair()
        ring.setblocking(False)
        signal.set_wakeup_fd(ring.detach(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_end_signal(self, *_: object) -> None:
        self.told_to_end = True

    def sleep(self, seconds: float) -> None:
        """Sleep; those two signals, and the death of a child, cut it short."""
        self._bell.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._bell.recv(64)
