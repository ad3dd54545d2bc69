"""How limits and resources stand: what is held, who waits, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, Field

from orch.control.status import instant
from orch.errors import NotFound
from orch.journal.journal import Journal
from orch.journal.limits import Request
from orch.limits import Limit
from orch.workflows.limits import (
    RATE,
    RESOURCE,
    LimitName,
    Want,
    rate_text,
    wants_of_capability,
)

MOST_SHOWN = 100
"""Requests of one limit that are shown."""


class LimitRequest(BaseModel):
    """A step that holds something of a limit, or waits for it. Instants are ISO 8601 in UTC."""

    execution: str
    path: str
    project: str
    units: int = 1
    asked: str
    since: str | None = Field(None, description="since when it holds it")


class LimitInfo(BaseModel):
    """One limit, over all workers."""

    kind: str = Field(description="resource, concurrency or rate")
    of: str = Field(description="capability, limit (of a step, by its name) or resource")
    name: str
    key: str | None = Field(None, description="the value by which it is limited")
    allowed: str = Field(description="a capacity, a number at a time, or a rate")
    held: int = 0
    waiting: int = 0
    next: str | None = Field(None, description="of a rate: when the next may begin")
    by: str | None = Field(None, description="of a resource: `settings`, or `defined` by hand")
    holders: list[LimitRequest] = Field(default_factory=list)
    waiters: list[LimitRequest] = Field(default_factory=list, description="in no order")


class LimitViews:
    """Read through the journal. Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def list_all(self) -> list[LimitInfo]:
        """All that are declared, defined, or in use."""
        return [info for info, _ in self._all().values()]

    def list_resources(self) -> list[LimitInfo]:
        return [info for info in self.list_all() if info.kind == RESOURCE]

    def show(self, name: str, key: str | None = None) -> list[LimitInfo]:
        """Those of a capability, a resource, or a name, with who holds and who waits.

        Raises NotFound.
        """
        return self._shown(name, key, None)

    def show_resource(self, name: str) -> LimitInfo:
        """Raises NotFound."""
        return self._shown(name, None, RESOURCE)[0]

    def _shown(self, name: str, key: str | None, kind: str | None) -> list[LimitInfo]:
        found = [
            _with_requests(info, text, requests)
            for text, (info, requests) in self._all().items()
            if info.name == name and key in (None, info.key) and kind in (None, info.kind)
        ]
        if not found:
            raise NotFound(
                f"there is no {'resource' if kind else 'limit of'} {name!r}"
                + (f" for the key {key!r}" if key is not None else ""),
                hint=f"orch resources define {name} 1" if kind else "`orch limits` lists them",
            )
        return found

    def wants(self) -> dict[str, Want]:
        """Name of each limit that is declared or in use -> what is wanted of it."""
        found: dict[str, Want] = {}
        for capability, limit in self.journal.declared_limits().items():
            found |= _declared(capability, limit)
        for request in self.journal.read_requests():
            for want in request.wants:
                found.setdefault(want.name, want)
        return found

    def _all(self) -> dict[str, tuple[LimitInfo, list[Request]]]:
        requests = self.journal.read_requests()
        resources = self.journal.read_resources()
        wants: dict[str, Want] = {name: Want(name, RESOURCE) for name in resources}
        for capability, limit in self.journal.declared_limits().items():
            wants |= _declared(capability, limit)
        of: dict[str, list[Request]] = {name: [] for name in wants}
        for request in requests:
            for want in request.wants:
                wants.setdefault(want.name, want)
                if request.held or request.at == want.name:
                    of.setdefault(want.name, []).append(request)
        next_starts = self.journal.next_starts()
        found = {}
        for name, want in sorted(wants.items()):
            info = _info(want, of.get(name, []), next_starts.get(name))
            if name in resources:
                capacity, by_hand = resources[name]
                info.allowed, info.by = str(capacity), "defined" if by_hand else "settings"
            found[name] = info, of.get(name, [])
        return found


def _declared(capability: str, limit: Limit) -> dict[str, Want]:
    """One by key is shown once it is used: then its keys are known."""
    wants = wants_of_capability(capability, limit, None) if limit.key is None else []
    return {want.name: want for want in wants}


def _info(want: Want, requests: Sequence[Request], following: int | None) -> LimitInfo:
    name = LimitName.parse(want.name)
    held = sum(_units(each, want.name) for each in requests if each.held)
    allowed = "not defined"
    if want.kind != RESOURCE:
        allowed = rate_text(want) if want.kind == RATE else f"{want.size:g}"
    return LimitInfo(
        kind=want.kind,
        of=name.about,
        name=name.name,
        key=name.key,
        allowed=allowed,
        held=held,
        waiting=sum(not each.held for each in requests),
        next=instant(following) if following else None,
    )


def _units(request: Request, name: str) -> int:
    return next((want.units for want in request.wants if want.name == name), 0)


def _with_requests(info: LimitInfo, name: str, requests: Iterable[Request]) -> LimitInfo:
    found: dict[bool, list[LimitRequest]] = {True: [], False: []}
    for request in sorted(requests, key=lambda each: (each.rank, each.member)):
        execution, path = request.token
        found[request.held].append(
            LimitRequest(
                execution=execution,
                path=path,
                project=request.project,
                units=_units(request, name),
                asked=instant(request.asked),
                since=instant(request.since) if request.held else None,
            )
        )
    return info.model_copy(
        update={"holders": found[True][:MOST_SHOWN], "waiters": found[False][:MOST_SHOWN]}
    )
