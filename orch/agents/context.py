"""What a capability is told about the attempt that it works for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from datetime import timedelta
from math import isfinite
from typing import Any

from pydantic import SecretStr

from orch.agents.notebook import Notebook
from orch.agents.secret import read_no_secret
from orch.agents.steplog import KeepLine, StepLog, unkept
from orch.errors import NotFound, StepCancelled
from orch.workflows.rungs import subject_of
from orch.workflows.usage import Usage

Left = tuple[float | None, int | None]
"""Cost and tokens; None: any."""


def _never() -> bool:
    return False


def _unused(used: Usage) -> None:
    del used


def _all_left(*, begins: bool = False) -> Left:
    del begins
    return None, None


def _unheard(progress: Any) -> None:
    del progress


def _listed(value: Any) -> Iterator[Any]:
    return iter(value)


STEP_LOGGER = "orch.step"
_LOGGER = logging.getLogger(STEP_LOGGER)


CallService = Callable[..., Any]
"""(service, operation, parameters, key, check) -> `ServiceAnswer`."""


def _no_service(service: str, *_: Any, **__: Any) -> Any:
    raise NotFound(f"there is no service {service!r}: this context has none")


class Context:
    """One attempt of one step, as its code sees it.

    All arguments are keywords and have defaults, so that a test makes one with `Context()`.

    execution_id, workflow, step_id   names of what runs
    path          where the step stands in the execution, such as `resize[17]`
    attempt       1 for the first try
    deadline      unix seconds at which the attempt is given up, or None
    is_cancelled  asked by `cancelled()`
    on_heartbeat  called by `heartbeat(progress)`
    read_results  called by `results(value)`
    memory        the memory of the execution's project
    read_secret   called by `secret(name)`
    keep_line     called for each line of `log`
    on_use        called by `use(…)`
    read_left     called by `left()`
    call_service  called by `call_service(service, operation, parameters)`
    last_progress what the attempt before this one said last, or None
    """

    def __init__(
        self,
        *,
        execution_id: str = "local",
        workflow: str = "local",
        path: str = "step",
        step_id: str | None = None,
        attempt: int = 1,
        deadline: float | None = None,
        is_cancelled: Callable[[], bool] = _never,
        on_heartbeat: Callable[[Any], None] = _unheard,
        read_results: Callable[[Any], Iterator[Any]] = _listed,
        memory: Notebook | None = None,
        read_secret: Callable[[str], SecretStr] = read_no_secret,
        keep_line: KeepLine = unkept,
        on_use: Callable[[Usage], None] = _unused,
        read_left: Callable[..., Left] = _all_left,
        call_service: CallService = _no_service,
        last_progress: Any = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.workflow = workflow
        self.path = path
        self.step_id = path if step_id is None else step_id
        self.attempt = attempt
        self.deadline = deadline
        self.last_progress = last_progress
        self._part = ""
        self._is_cancelled = is_cancelled
        self._on_heartbeat = on_heartbeat
        self._read_results = read_results
        self.memory = memory or Notebook()
        self._read_secret = read_secret
        self._on_use = on_use
        self._read_left = read_left
        self._call_service = call_service
        fields = {"execution_id": execution_id, "path": path, "attempt": attempt}
        self.log = StepLog(logger or _LOGGER, fields, keep_line)

    @property
    def idempotency_key(self) -> str:
        """The same over all attempts of the step, also of others who do it in its place while it
        is escalated: hand it to services that take such a key."""
        return f"{self.execution_id}/{subject_of(self.path)}{self._part}"

    def within(self, part: str) -> Context:
        """The same attempt, as a part of its work sees it: with an idempotency key of its own."""
        made = copy(self)
        made._part = f"{self._part}/{part}"
        return made

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def cancelled(self) -> bool:
        """Whether the result is no longer wanted. Cheap enough to ask in a loop."""
        return self._is_cancelled()

    @property
    def is_cancelled(self) -> bool:
        """As `cancelled()`."""
        return self.cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise StepCancelled if the result is no longer wanted."""
        if self.cancelled():
            raise StepCancelled(f"step {self.step_id!r} was cancelled")

    def heartbeat(self, progress: Any = None) -> None:
        """Say that the work goes on; `progress` is any JSON value.

        People see it, and the next attempt has it as `last_progress`. It may be called as often
        as one likes: a third of the step's `heartbeatTimeout` (or a second) is between two that
        are sent. Raises StepCancelled where nobody wants the result any more, StepError
        `InvalidProgress` for what is no JSON or too large.
        """
        self._on_heartbeat(progress)

    def results(self, value: Any) -> Iterator[Any]:
        """The results of a map, one after the other: of the list, or of what stands for it.

        Results of more than `output_limit` bytes are not handed to a step, but a reference to
        them is; a page of them is read at a time.
        """
        return self._read_results(value)

    def progress(self, value: Any) -> None:
        """As `heartbeat`, for who says how far it is and not that it lives."""
        self.heartbeat(value)

    def secret(self, name: str) -> SecretStr:
        """A secret by its name: a file of the setting `secrets_dir`, or a variable of the
        environment that begins with `secrets_prefix`. `get_secret_value()` gives its text.

        From then on it is replaced by `***` in the lines, the progress, the failure and the
        output of every step of this process. Raises StepError `SecretNotFound`.
        """
        return self._read_secret(name)

    def use(
        self,
        *,
        tokens: int = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost: float = 0.0,
        calls: int = 1,
        model: str = "",
    ) -> None:
        """Note that the attempt has used so much, beside what it said before.

        ``tokens``: where it is not known which of them were input and which output. It counts
        for the step, its execution and its project, also where the attempt fails. Raises
        StepError `BudgetExceeded` where that is more than one of them may use; ValueError for
        less than nothing.
        """
        if min(tokens, input_tokens, output_tokens, cost, calls) < 0 or not isfinite(cost):
            raise ValueError("what a step uses is 0 or more")
        self._on_use(Usage(input_tokens + tokens, output_tokens, float(cost), calls, model))

    def left(self) -> Left:
        """Cost and tokens that the attempt may use yet, by all budgets; None: any."""
        return self._read_left()

    def call_service(
        self, service: str, operation: str, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Call an operation of a service that is registered; its `ServiceAnswer`: `status`,
        `body`, `headers`. The idempotency key of the step, the service and the operation is sent
        along.

        Raises NotFound, InputError, StepError, RetryAfter, as `ServiceCaller.call`.
        """
        key = f"{self.idempotency_key}/{service}.{operation}"
        return self._call_service(
            service, operation, parameters, key=key, check=self.raise_if_cancelled
        )

    def remember(
        self,
        content: str,
        tags: Sequence[str] = (),
        data: Any = None,
        *,
        private: bool = False,
        related: Sequence[str] = (),
        confidence: float = 1.0,
        keep: float | timedelta | None = None,
    ) -> None:
        """Keep a record `ORCH:AREA: …` in the memory of the execution's project, by the role of
        the step's capability.

        ``private``: only steps of this capability find it, until it is shared. ``related``: ids
        of other records. ``confidence``: 0 to 1. ``keep``: seconds, or a timedelta, instead of
        what the settings say. The same content of the same step is kept once, however often the
        step is tried. Raises InputError for what cannot be kept, Unreachable.
        """
        self.memory.store(
            content,
            tags,
            data,
            private=private,
            related=related,
            confidence=confidence,
            keep=keep,
        )

    def recall(self, text: str | None = None, *, limit: int = 50, **filters: Any) -> list[Any]:
        """Records of the execution's project that say ``text``, the newest first, with those that
        are private to the step's capability; as `context.memory.search`."""
        return self.memory.search(text=text, limit=limit, **filters)

    def __repr__(self) -> str:
        return f"Context({self.idempotency_key!r}, attempt={self.attempt})"
