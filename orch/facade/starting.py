"""Executions: started, and started again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from orch.control.bulk import Asked
from orch.control.forking import Again
from orch.control.manager import Started
from orch.control.triggers import Told
from orch.errors import OrchError
from orch.execution import Execution
from orch.facade.base import Base
from orch.workflows.comparing import Difference
from orch.workflows.starts import StartGiven


class Starting(Base):
    """Executions: started, and started again."""

    def start_workflow(
        self,
        name: str,
        input: Any = None,
        idempotency_key: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartGiven],
    ) -> Execution:
        """Start an execution. The same ``idempotency_key`` gives the same execution.

        ``version``: the hash of one, the beginning of it, or its label; by default the latest.
        ``options``: ``delay`` or ``at``, ``deadline``, ``attributes``, ``priority``,
        ``concurrency_key``, ``project``; see `StartGiven`.
        Raises NotFound, InputError, ConcurrencyRejected, Unreachable.
        """
        started = self.manager.start(
            name, input, idempotency_key=idempotency_key, version=version, **options
        )
        return self._handle(started)

    def start_workflows(self, requests: Iterable[Asked]) -> list[Execution | OrchError]:
        """Start many executions; what became of each, in order: its handle, or why it was refused.

        ``requests``: `StartRequest`, (name, input, options), or mappings of ``name``, ``input``,
        ``idempotency_key`` and options. One that is refused does not hold up the others.
        """
        return [
            each if isinstance(each, OrchError) else self._handle(each)
            for each in self.manager.start_many(requests)
        ]

    def _handle(self, started: Started) -> Execution:
        return Execution(
            self.manager, started.id, existed=started.existed, warnings=started.warnings
        )

    def rerun_workflow(self, id: str, input: Any = None, **given: Any) -> Execution:
        """Start an execution anew, as a new one; ``input``: None for the same.

        Keywords: ``version``, "same" or "latest"; ``idempotency_key``, ``reason``, ``by``.
        Raises NotFound, InputError.
        """
        return self._again(self.manager.forking.rerun(id, input, **given))

    def fork_workflow(
        self,
        id: str,
        from_step: str,
        *,
        variables: Mapping[str, Any] | None = None,
        input: Any = None,
        **given: Any,
    ) -> Execution:
        """Go on from a step as a new execution; what was done before the step is kept.

        ``from_step``: its path. ``variables`` are set on top of those of that point; ``input``:
        None for the same. Keywords as of `rerun_workflow`. Raises NotFound, InputError, and
        NotAllowed where it would not be exact.
        """
        forking = self.manager.forking
        return self._again(forking.fork(id, from_step, variables=variables, input=input, **given))

    def _again(self, again: Again) -> Execution:
        started = self.manager.start_again(again)
        return Execution(
            self.manager, started.id, existed=started.existed, warnings=started.warnings
        )

    def diff_executions(self, a: str, b: str) -> Difference:
        """How execution ``b`` differs from ``a``: `same`, and all that is different."""
        return self.manager.diff(a, b)

    def trigger_event(
        self,
        event: str,
        payload: Any = None,
        *,
        correlation: str | None = None,
        execution: str | None = None,
        id: str | None = None,
    ) -> Told:
        """Tell all that wait for ``event``, each exactly once; how many took it now.

        The workflows whose `triggers` name it are started, each once for each event: the answer
        is a number, whose ``started`` names the executions and whose ``not_triggered`` says
        which could not be, and why (a wrong input, a `match` that cannot be evaluated).
        With ``execution`` it is meant for that one alone. Then, or with a ``correlation``, it is
        kept for steps that come to it later. The same ``id`` is the same event, told once more.
        Raises NotFound, InputError.
        """
        return self.manager.trigger_event(
            event, payload, correlation=correlation, execution=execution, id=id
        )
