"""An execution, for coroutines: Redis is talked to in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from orch.control.attempts import Attempt
from orch.control.logs import LoggedLine
from orch.control.migration import Migrated
from orch.control.status import ExecutionContext
from orch.control.waiting import Looks
from orch.execution import Execution, not_ended, output_of
from orch.journal.journal import HistoryEntry

T = TypeVar("T")


class AsyncExecution:
    """An `Execution` whose methods are coroutines."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.id = execution.id
        self.existed = execution.existed
        self.warnings = execution.warnings

    async def status(self) -> ExecutionContext:
        return await asyncio.to_thread(self._execution.status)

    async def wait(self, timeout: float | None = None) -> ExecutionContext:
        """As `Execution.wait`, without a thread that is held while it waits."""
        return await self._waited(timeout, self._execution._if_ended)

    async def result(self, timeout: float | None = None) -> Any:
        """As `Execution.result`, without a thread that is held while it waits."""
        return output_of(self._execution, await self._waited(timeout, self._execution._ending))

    async def _waited(self, timeout: float | None, look: Callable[[Looks], T | None]) -> T:
        looks = self._execution._manager.looks(self.id, timeout)
        async with aclosing(looks.in_loop()) as each:
            async for _ in each:
                if (found := await asyncio.to_thread(look, looks)) is not None:
                    return found
        raise not_ended(self._execution, timeout)

    async def history(self) -> list[HistoryEntry]:
        return await asyncio.to_thread(self._execution.history)

    async def attempts(self, path: str) -> tuple[Attempt, ...]:
        return await asyncio.to_thread(self._execution.attempts, path)

    async def logs(
        self, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> AsyncIterator[LoggedLine]:
        """As `Execution.logs`, for `async for`."""
        found = await asyncio.to_thread(self._execution.logs, path, level, follow=follow)
        while (line := await asyncio.to_thread(next, found, None)) is not None:
            yield line

    async def results(self, path: str) -> AsyncIterator[Any]:
        """As `Execution.results`, for `async for`."""
        found = await asyncio.to_thread(self._execution.results, path)
        end = object()
        while (each := await asyncio.to_thread(next, found, end)) is not end:
            yield each

    async def pause(
        self, reason: str = "", *, branch: str | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.pause, reason, branch=branch, by=by)

    async def resume(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        return await asyncio.to_thread(
            self._execution.resume, input, reason=reason, branch=branch, by=by
        )

    async def cancel(
        self, reason: str = "", *, grace: float | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.cancel, reason, grace=grace, by=by)

    async def terminate(self, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self._execution.terminate, reason, by=by)

    async def retry(self, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self._execution.retry, reason, by=by)

    async def skip(
        self, path: str, output: Any = None, *, reason: str = "", by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.skip, path, output, reason=reason, by=by)

    async def migrate(
        self,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        migrate = self._execution.migrate
        return await asyncio.to_thread(
            migrate, version, mapping, by=by, reason=reason, dry_run=dry_run
        )

    async def modify(
        self,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        modify = self._execution.modify
        return await asyncio.to_thread(modify, changes, by=by, reason=reason, dry_run=dry_run)
