"""Several fibers of one thread that ask Redis together: all that they ask is one write.

A process that does one thing after the other has Redis read, answer and fall asleep for each of
them, and does so itself; that is most of what a short step costs. Here fibers take turns: each
goes on until it asks for something, and when all have asked, their commands are sent at once.

While one of them calls what may take any time, the others hold what they have. A thread looks that
it is not for long, and lets go of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from orch.journal.wire import Asked, Wire

logger = logging.getLogger(__name__)

LOOK = 0.05
"""Seconds between looks at what is called: what two of them see is taken to be long."""

REST = 1.0
"""Seconds without work after which nobody looks any more."""

Work = Callable[["Fiber"], None]


class Dropped(GreenletExit):
    """Raised in a fiber that was let go of: it ends, and does nothing more."""


class Fiber(greenlet):
    """One of those that take turns. ``number``: no other has it while this one runs.

    ``alone``: it asks by itself, so that nothing comes between what it asks and what it does.
    ``token``: execution and path of the message that it has in hand. ``question``: what it waits to
    ask; ``answer``: what it has not seen yet.
    """

    def __init__(self, pipeline: Pipeline, number: int, work: Work, hub: greenlet) -> None:
        super().__init__(work, hub)
        self.pipeline = pipeline
        self.number = number
        self.alone = False
        self.dropped = False
        self.token: tuple[str, str] | None = None
        self.question: Asked | None = None
        self.answer: Any = None

    @property
    def has_others(self) -> bool:
        return self.pipeline.count > 1

    @contextmanager
    def calling(self, execution: str, path: str) -> Iterator[None]:
        """Call what is not ours: it sees no other fiber, however long it takes.

        ``path``: '' for all that it does of an execution.
        """
        self.pipeline.begin_call(execution, path)
        try:
            yield
        finally:
            self.pipeline.end_call()


class Pipeline:
    """Of one process. ``numbers``: of its fibers; there are no more at a time.

    ``told``: called with a fiber and whether it waits, when that changes. ``let_go``: gives back
    what a fiber holds, from another thread; raises an Exception where it cannot. ``may_widen``:
    whether one more would find something to do.

    ``called``: execution and path of what is being called, which is not ours.
    """

    def __init__(
        self,
        wire: Wire,
        numbers: Sequence[int],
        *,
        told: Callable[[Fiber, bool], None],
        let_go: Callable[[Fiber], None],
        may_widen: Callable[[], bool] = lambda: True,
    ) -> None:
        self._wire = wire
        self._numbers = numbers
        self._told = told
        self._let_go = let_go
        self._may_widen = may_widen
        self._work: Work | None = None
        self._hub: greenlet = getcurrent()
        self._fibers: dict[int, Fiber] = {}
        self._ready: deque[Fiber] = deque()
        self._current: Fiber | None = None
        self._lock = threading.Lock()
        self.called: tuple[str, str] | None = None
        self._wanted = threading.Event()
        self._ended = 0.0
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        return len(self._fibers)

    def run(self, work: Work) -> None:
        """Call ``work`` in a fiber, and in one more whenever it widens, until all have ended.

        Raises what the first raises that fails, when the others have ended, too; at once what is no
        Exception.
        """
        self._work, self._hub = work, getcurrent()
        failure: Exception | None = None
        self._wire.pipeline = self
        try:
            self._begin_one()
            while self._fibers:
                while self._ready:
                    try:
                        self._resume(self._ready.popleft())
                    except Exception as exc:
                        failure = failure or exc
                self._ask()
        finally:
            self._wire.pipeline = None
            self._fibers, self._ended = {}, time.monotonic()
            self._ready.clear()
        if failure is not None:
            raise failure

    def widen(self) -> None:
        """One more fiber, if there may be more."""
        if self.count >= len(self._numbers) or not self._may_widen():
            return
        self._begin_one()
        self._have_watched()

    def _begin_one(self) -> None:
        assert self._work is not None
        number = next(n for n in self._numbers if n not in self._fibers)
        fiber = Fiber(self, number, self._work, self._hub)
        fiber.gr_context = copy_context()
        with self._lock:
            self._fibers[number] = fiber
        self._ready.append(fiber)

    def _resume(self, fiber: Fiber) -> None:
        self._current = fiber
        self._told(fiber, False)
        begun = bool(fiber)
        try:
            if fiber.dropped:
                fiber.throw(Dropped)
            elif begun:
                fiber.switch()
            else:
                fiber.switch(fiber)
        finally:
            self._current = None
            if fiber.dead:
                with self._lock:
                    del self._fibers[fiber.number]
            else:
                self._told(fiber, True)

    def _ask(self) -> None:
        """Send what all have asked; each is ready with its own answer."""
        fibers = list(self._fibers.values())
        asking = [each for each in fibers if each.question is not None and not each.dropped]
        self._ready.extend(each for each in fibers if each.dropped)
        if asking:
            self._answer(asking)
            self._ready.extend(asking)

    def _answer(self, asking: list[Fiber]) -> None:
        answers: list[Any]
        try:
            answers = self._wire.execute_each([each.question for each in asking if each.question])
        except Exception as exc:
            answers = [exc] * len(asking)
        for each, answer in zip(asking, answers, strict=True):
            each.question, each.answer = None, answer

    # --- in a fiber --------------------------------------------------------------------------

    def may_ask(self) -> bool:
        """Whether the caller is one of several fibers, and may wait for the others."""
        fiber = self._current
        if fiber is None or self.called is not None or fiber.alone or len(self._fibers) < 2:
            return False
        return getcurrent() is fiber  # else: another thread

    def ask(self, asked: Asked) -> Any:
        """The answer, when all others have asked, too. Raises what the Redis client raises."""
        fiber = self._current
        assert fiber is not None
        fiber.question = asked
        self._hub.switch()
        answer, fiber.answer = fiber.answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def begin_call(self, execution: str, path: str) -> None:
        with self._lock:
            self.called = (execution, path)

    def end_call(self) -> None:
        with self._lock:  # waits for who lets go of the others
            self.called = None

    # --- in a thread -------------------------------------------------------------------------

    def _have_watched(self) -> None:
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="orch-pipeline", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        seen: tuple[str, str] | None = None
        while True:
            if not self._fibers and time.monotonic() - self._ended > REST:
                self._wanted.clear()
                if not self._fibers:
                    self._wanted.wait()
            time.sleep(LOOK)
            called = self.called
            if called is not None and called is seen:
                self.let_go_of_others(called)
            seen = called

    def let_go_of_others(self, called: tuple[str, str]) -> None:
        """While ``called`` is still being called: give back what all others hold."""
        with self._lock:
            if self.called is not called:
                return
            (execution, path), count = called, 0
            for fiber in self._fibers.values():
                if fiber is self._current or fiber.dropped:
                    continue
                try:
                    self._let_go(fiber)
                except Exception as exc:  # the next look tries again
                    what = f"{path or 'a branch'} of execution {execution}"
                    logger.warning("what waits behind %s is not given back: %s", what, exc)
                    return
                fiber.dropped, count = True, count + 1
            if count:
                what = f"{path or 'a branch'} of execution {execution}"
                logger.info("%s takes long: %d that waited behind it were given back", what, count)

    def ask_for(self, fiber: Fiber) -> None:
        """Ask what a fiber waits to ask, for who lets go of it. Raises where Redis is away."""
        if fiber.question is not None:
            (fiber.answer,) = self._wire.execute_each([fiber.question])
            fiber.question = None
