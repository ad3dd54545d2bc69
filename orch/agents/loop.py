"""The event loop of a process, on which `async def` capabilities run."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from orch.agents.context import Context
from orch.errors import StepError

MOST_THREADS = 64
"""For what coroutines hand to a thread (`asyncio.to_thread`): they are made as they are needed."""


class _Loop:
    """The event loop of this process, on a daemon thread. A forked child makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(ThreadPoolExecutor(MOST_THREADS, "orch-async-thread"))
        threading.Thread(target=self._serve, name="orch-async", daemon=True).start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_loop: _Loop | None = None
_loop_lock = threading.Lock()


def _new_lock_after_fork() -> None:
    # A fork while another thread held the lock would leave it locked for ever in the child.
    global _loop_lock
    _loop_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)


def _event_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _loop_lock:
        if _loop is None or _loop.pid != os.getpid():
            _loop = _Loop()
        return _loop.loop


def run_on_loop(coroutine: Coroutine[Any, Any, Any], name: str, context: Context) -> Any:
    future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, _event_loop())
    try:
        return future.result(context.remaining())
    except TimeoutError:
        if future.done():  # the coroutine's own
            raise
        raise StepError(
            "StepTimeout", f"capability {name!r} was still running at the deadline of its attempt"
        ) from None
    finally:
        future.cancel()
