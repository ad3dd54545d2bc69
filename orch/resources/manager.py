"""ResourceManager: resources are defined, looked at, and planned from how they were used."""

from __future__ import annotations

import math

from orch.control.limits import LimitInfo, LimitViews
from orch.control.noting import resource_changed
from orch.control.runtime import Runtime
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.limits import check_capacity
from orch.resources.advice import HOUR, CapacityPlan, Usage, plan, usages, wants_change
from orch.workflows.limits import RATE, RESOURCE, LimitName, Want, resource_name

MOST_HOURS = 14 * 24
"""For so long it is known how limits were used."""

NAME_LENGTH = 200


class ResourceManager:
    """``name``: of a resource. Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.views = LimitViews(runtime.journal)

    def define(self, name: str, capacity: int) -> LimitInfo:
        """There is so much of it from now on; those that wait get more. Raises InputError."""
        if not 0 < len(name) <= NAME_LENGTH:
            raise InputError(
                f"{name!r} is no name of a resource: it has 1 to {NAME_LENGTH} letters"
            )
        try:
            check_capacity(name, capacity)
        except ValueError as exc:
            raise InputError(str(exc)) from exc
        note = resource_changed(name, capacity, current_user(), self.journal.clock())
        self.journal.define_resource(name, capacity, note)
        self.runtime.advancer.look_at_resources([resource_name(name)])
        return self.views.show_resource(name)

    def remove(self, name: str) -> None:
        """There is no such resource any more; who waits for it fails. Raises NotFound."""
        note = resource_changed(name, None, current_user(), self.journal.clock())
        if not self.journal.remove_resource(name, note):
            self.views.show_resource(name)  # raises, unless steps wait for what is not there
        self.runtime.advancer.look_at_resources([resource_name(name)])

    def list_all(self) -> list[LimitInfo]:
        return self.views.list_resources()

    def show(self, name: str) -> LimitInfo:
        """With who holds it, and who waits. Raises NotFound."""
        return self.views.show_resource(name)

    def plan_capacity(
        self, name: str, *, hours: int = MOST_HOURS, wait: float | None = None
    ) -> CapacityPlan:
        """How much of it would be enough for its busiest hour, of the last ``hours``.

        ``wait``: seconds that a step may wait for it on average; without it, a tenth of the time
        for which it is held. Raises NotFound, InputError.
        """
        if wait is not None and not 0 < wait < math.inf:
            raise InputError(f"`wait` is {wait!r}, and should be seconds above 0")
        told, full = self._usages(hours), resource_name(name)
        resources = self.journal.read_resources()
        if full not in resources and full not in told:
            raise NotFound(f"there is no resource {name!r}", hint=f"orch resources define {name} 1")
        allowed = float(resources[full][0]) if full in resources else None
        ms = None if wait is None else wait * 1000
        return plan(full, allowed, hours, told.get(full, []), ms)

    def optimize_allocation(self, *, hours: int = MOST_HOURS) -> list[CapacityPlan]:
        """Those limits and resources that are short, or of which less would be enough."""
        told = self._usages(hours)
        allowed: dict[str, float | None] = dict.fromkeys(told)
        for name, want in self.views.wants().items():
            allowed[name] = _allowed(want)
        for name, (capacity, _) in self.journal.read_resources().items():
            allowed[name] = float(capacity)
        keyless = {name: most for name, most in allowed.items() if not LimitName.parse(name).key}
        found = [plan(name, most, hours, told.get(name, [])) for name, most in keyless.items()]
        return sorted(
            (each for each in found if wants_change(each)),
            key=lambda each: (-each.waits * each.mean_wait_ms, each.name),
        )

    def _usages(self, hours: int) -> dict[str, list[Usage]]:
        if not 0 < hours <= MOST_HOURS:
            raise InputError(f"`hours` is {hours}, and should be from 1 to {MOST_HOURS}")
        return usages(counted for _, counted in self.journal.read_usage(hours))


def _allowed(want: Want) -> float | None:
    """Units; of a rate starts in an hour."""
    if want.kind == RESOURCE:
        return None
    return HOUR / want.size if want.kind == RATE else want.size
