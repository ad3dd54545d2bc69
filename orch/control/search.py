"""Which executions somebody asks for: filters as people give them, and the pages they get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from orch.control.filters import Filters, Instant
from orch.control.plans import Plans
from orch.control.status import ExecutionInfo, execution_info
from orch.errors import InputError, NotFound
from orch.journal.finding import Query
from orch.journal.heads import attribute_text
from orch.journal.journal import Journal
from orch.workflows.calls import capabilities_in
from orch.workflows.durations import parse_instant
from orch.workflows.state import ExecutionStatus

PAGE = 500
"""Executions that are read at a time where all are wanted."""


class ExecutionPage(list[ExecutionInfo]):
    """Executions, newest first. ``cursor`` gives the page behind this one; None: there is none."""

    def __init__(self, found: Iterable[ExecutionInfo] = (), cursor: str | None = None) -> None:
        super().__init__(found)
        self.cursor = cursor


class Search:
    """Finds executions. Safe to use from several threads."""

    def __init__(self, journal: Journal, plans: Plans) -> None:
        self.journal = journal
        self.plans = plans
        self._about: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def page(self, limit: int, cursor: str | None, filters: Filters) -> ExecutionPage:
        """Raises InputError."""
        if limit < 1:
            raise InputError(f"a page of {limit} executions was asked for; give 1 or more")
        found, following = self.journal.find(self.query(filters), limit, cursor)
        now = self.journal.clock()
        return ExecutionPage((execution_info(one, now) for one in found), following or None)

    def every(self, filters: Filters) -> list[ExecutionInfo]:
        """All that are meant, newest first. Raises InputError."""
        page = self.page(PAGE, None, filters)
        found = list(page)
        while page.cursor is not None:
            page = self.page(PAGE, page.cursor, filters)
            found += page
        return found

    def ids(self, filters: Filters) -> list[str]:
        """All that are meant, newest first. Raises InputError."""
        return self.journal.find_ids(self.query(filters))

    def query(self, filters: Filters) -> Query:
        """Raises InputError."""
        if unknown := filters.keys() - Filters.__annotations__.keys():
            raise InputError(
                f"executions cannot be found by {', '.join(sorted(unknown))}",
                hint=f"there are: {', '.join(Filters.__annotations__)}",
            )
        return Query(
            statuses=_statuses(filters.get("status")),
            kinds=self._kinds(filters),
            attributes=_attributes(filters.get("attribute") or {}),
            error=filters.get("error"),
            parent=filters.get("parent"),
            since=self._instant("since", filters.get("since")),
            until=self._instant("until", filters.get("until")),
            degraded=_truth("degraded", filters.get("degraded")),
        )

    def _instant(self, name: str, given: Instant | None) -> int | None:
        return milliseconds_of(name, given, self.journal.clock())

    def _kinds(self, filters: Filters) -> tuple[tuple[str, str | None], ...] | None:
        """The workflows and versions that are meant; None: any."""
        workflow, version = filters.get("workflow"), filters.get("version")
        tag, capability = filters.get("tag"), filters.get("capability")
        if tag is None and capability is None and version is None:
            return None if workflow is None else ((workflow, None),)
        if tag is None and capability is None and workflow is not None:
            return ((workflow, version),)
        return tuple(
            (name, each)
            for name, each in sorted(self.journal.kinds())
            if workflow in (None, name)
            and version in (None, each)
            and (tag is None or tag in self._about_version(each)[0])
            and (capability is None or capability in self._about_version(each)[1])
        )

    def _about_version(self, version: str) -> tuple[frozenset[str], frozenset[str]]:
        """Tags and capabilities of a version; none where its definition is lost."""
        if version not in self._about:
            try:
                definition = self.plans.definition(version)
            except NotFound:
                return frozenset(), frozenset()
            self._about[version] = (
                frozenset(definition.tags),
                frozenset(capabilities_in(definition)),
            )
        return self._about[version]


def _truth(name: str, given: object) -> bool | None:
    if given is None or isinstance(given, bool):
        return given
    raise InputError(f"{name!r} is true or false, not {given!r}")


def _statuses(given: str | Iterable[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    words = (given,) if isinstance(given, str) else tuple(given)
    known = [status.value for status in ExecutionStatus]
    for word in words:
        if word not in known:
            raise InputError(
                f"{word!r} is no status of an execution", hint=f"there are: {', '.join(known)}"
            )
    return tuple(dict.fromkeys(str(word) for word in words))


def _attributes(given: Mapping[str, Any]) -> dict[str, str]:
    for name, value in given.items():
        if not isinstance(value, str | int | float | bool):
            raise InputError(f"attribute {name!r} is a text, a number or a truth value")
    return {name: attribute_text(value) for name, value in given.items()}


def milliseconds_of(name: str, given: Instant | None, now: int) -> int | None:
    """A point in time, ms since the epoch. Raises InputError, which calls it ``name``."""
    if isinstance(given, timedelta):
        return now - given // timedelta(milliseconds=1)
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    text = given.isoformat() if isinstance(given, datetime) else given
    try:
        return parse_instant(text)
    except ValueError as exc:
        raise InputError(f"{name!r}: {exc}") from exc
