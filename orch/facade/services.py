"""Services outside, which programs and steps call by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.facade.base import Base
from orch.services.registry import Given
from orch.services.service import ExternalService


class Services(Base):
    """Services outside, which programs and steps call by name."""

    def register_external_service(self, service: Given, *, replace: bool = False) -> str:
        """Keep a service; its name. With ``replace`` also over one of the same name.

        Raises InputError with all that is wrong, and where there is one of the name.
        """
        return self.services.registry.register(service, replace=replace)

    def list_external_services(self) -> list[ExternalService]:
        """All of them, by their names."""
        return list(self.services.registry.list())

    def get_external_service(self, name: str) -> ExternalService:
        """Raises NotFound."""
        return self.services.registry.get(name)

    def remove_external_service(self, name: str) -> bool:
        """Steps that call it fail from now on. False: there was none."""
        return self.services.registry.remove(name)

    def call_external_service(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Any:
        """Call an operation from this process, with its secrets; the body of the answer.

        Raises NotFound, InputError for parameters, StepError as the capability `service_call`.
        """
        return self.services.call(service, operation, params, key=idempotency_key).body
