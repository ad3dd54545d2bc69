"""Executions: started, and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from orch.async_facade.base import Base
from orch.async_facade.execution import AsyncExecution
from orch.control.bulk import Asked
from orch.control.triggers import Told
from orch.errors import OrchError
from orch.workflows.comparing import Difference
from orch.workflows.starts import StartGiven


class Starting(Base):
    """Executions: started, and started again."""

    async def start_workflow(
        self,
        name: str,
        input: Any = None,
        idempotency_key: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartGiven],
    ) -> AsyncExecution:
        start = self.sync.start_workflow
        return AsyncExecution(
            await asyncio.to_thread(
                lambda: start(name, input, idempotency_key, version=version, **options)
            )
        )

    async def start_workflows(self, requests: Iterable[Asked]) -> list[AsyncExecution | OrchError]:
        """As `Orchestrator.start_workflows`."""
        found = await asyncio.to_thread(self.sync.start_workflows, requests)
        return [each if isinstance(each, OrchError) else AsyncExecution(each) for each in found]

    async def rerun_workflow(self, id: str, input: Any = None, **given: Any) -> AsyncExecution:
        return AsyncExecution(
            await asyncio.to_thread(lambda: self.sync.rerun_workflow(id, input, **given))
        )

    async def fork_workflow(
        self,
        id: str,
        from_step: str,
        *,
        variables: Mapping[str, Any] | None = None,
        input: Any = None,
        **given: Any,
    ) -> AsyncExecution:
        fork = self.sync.fork_workflow
        return AsyncExecution(
            await asyncio.to_thread(
                lambda: fork(id, from_step, variables=variables, input=input, **given)
            )
        )

    async def diff_executions(self, a: str, b: str) -> Difference:
        return await asyncio.to_thread(self.sync.diff_executions, a, b)

    async def trigger_event(
        self,
        event: str,
        payload: Any = None,
        *,
        correlation: str | None = None,
        execution: str | None = None,
        id: str | None = None,
    ) -> Told:
        trigger = self.sync.trigger_event
        return await asyncio.to_thread(
            trigger, event, payload, correlation=correlation, execution=execution, id=id
        )
