"""Services outside, which programs and steps call by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from orch.async_facade.base import Base
from orch.services.registry import Given
from orch.services.service import ExternalService


class Services(Base):
    """Services outside, which programs and steps call by name."""

    async def register_external_service(self, service: Given, *, replace: bool = False) -> str:
        register = self.sync.register_external_service
        return await asyncio.to_thread(register, service, replace=replace)

    async def list_external_services(self) -> list[ExternalService]:
        return await asyncio.to_thread(self.sync.list_external_services)

    async def get_external_service(self, name: str) -> ExternalService:
        return await asyncio.to_thread(self.sync.get_external_service, name)

    async def remove_external_service(self, name: str) -> bool:
        return await asyncio.to_thread(self.sync.remove_external_service, name)

    async def call_external_service(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Any:
        call = self.sync.call_external_service
        return await asyncio.to_thread(
            call, service, operation, params, idempotency_key=idempotency_key
        )
