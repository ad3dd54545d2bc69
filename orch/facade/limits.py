"""Limits and resources, and breakers."""

from __future__ import annotations

from orch.control.breakers import BreakerInfo
from orch.control.limits import LimitInfo
from orch.facade.base import Base
from orch.resources.advice import CapacityPlan


class Limits(Base):
    """Limits and resources, and breakers."""

    # Circuit breakers. ``name``: of a capability. They raise NotFound where no worker has declared
    # a breaker of it.

    def list_breakers(self) -> list[BreakerInfo]:
        """Every breaker that workers have declared, and how it stands."""
        return self.manager.breakers.list()

    def show_breaker(self, name: str) -> BreakerInfo:
        """One breaker, with its latest changes."""
        return self.manager.breakers.show(name)

    def open_breaker(
        self, name: str, reason: str = "", *, seconds: float | None = None, by: str | None = None
    ) -> BreakerInfo:
        """Stop the calls of a capability: for so many seconds, or until it is closed."""
        return self.manager.breakers.open(name, reason, seconds=seconds, by=by)

    def close_breaker(self, name: str, reason: str = "", *, by: str | None = None) -> bool:
        """Let its calls through, and forget what was counted. False: it was closed."""
        return self.manager.breakers.close(name, reason, by=by)

    # Limits that hold over all workers, and resources. ``name``: of a capability, of a limit of
    # steps, or of a resource. They raise NotFound where there is none.

    def list_limits(self) -> list[LimitInfo]:
        """Every limit that is declared or in use, resources too, and how it stands."""
        return self.resources.views.list_all()

    def show_limit(self, name: str, key: str | None = None) -> list[LimitInfo]:
        """Those of this name, with the steps that hold it or wait. ``key``: of this one alone."""
        return self.resources.views.show(name, key)

    def list_resources(self) -> list[LimitInfo]:
        return self.resources.list_all()

    def show_resource(self, name: str) -> LimitInfo:
        """A resource, with the steps that hold it or wait for it."""
        return self.resources.show(name)

    def define_resource(self, name: str, capacity: int) -> LimitInfo:
        """There is so much of it from now on, whatever the settings say. Raises InputError."""
        return self.resources.define(name, capacity)

    def remove_resource(self, name: str) -> None:
        """There is no such resource any more: steps that take it fail."""
        self.resources.remove(name)

    def plan_capacity(
        self, resource: str, *, hours: int = 336, wait: float | None = None
    ) -> CapacityPlan:
        """How much of a resource is enough for its busiest hour, from how it was used.

        ``wait``: seconds that a step may wait on average; without it, a tenth of the mean hold.
        Raises NotFound, InputError.
        """
        return self.resources.plan_capacity(resource, hours=hours, wait=wait)

    def optimize_allocation(self, *, hours: int = 336) -> list[CapacityPlan]:
        """Limits and resources that are short, or of which less is enough; the worst first."""
        return self.resources.optimize_allocation(hours=hours)
