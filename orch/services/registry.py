"""The services outside that are registered: kept in Redis, so that all processes know them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from orch.control.noting import service_changed
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.services.service import ExternalService
from orch.workflows.note import Note

Given = ExternalService | Mapping[str, Any]
"""A service, or its fields, in camelCase or snake_case."""


class ServiceRegistry:
    """Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def register(self, given: Given, *, replace: bool = False) -> str:
        """Its name. Raises InputError for what is none, and where there is one of the name."""
        service = parse_service(given)
        text = json.dumps(service.content())
        note = self._changed(service.name, "registered")
        if not self.journal.store_service(service.name, text, replace=replace, note=note):
            raise InputError(
                f"there is a service {service.name!r}",
                hint="take another name, or replace it: `replace=True`, `--replace`",
            )
        self.journal.declare_breakers({service.guarded: service.breaker})
        return service.name

    def list(self) -> Sequence[ExternalService]:
        """All of them, by their names."""
        return [_read(text) for text in self.journal.read_services().values()]

    def get(self, name: str) -> ExternalService:
        """Raises NotFound, which lists those that there are."""
        text = self.journal.read_service(name)
        if text is None:
            known = list(self.journal.read_services())
            close = get_close_matches(name, known, 1)
            raise NotFound(
                f"there is no service {name!r}; there are: {', '.join(known) or 'none'}",
                hint=f"did you mean {close[0]!r}?" if close else "`orch service add` registers one",
            )
        return _read(text)

    def remove(self, name: str) -> bool:
        """False: there was none."""
        found = self.journal.remove_service(name, self._changed(name, "removed"))
        if found:
            self.journal.declare_breakers({f"service.{name}": None})
        return found

    def _changed(self, name: str, word: str) -> Note:
        return service_changed(name, word, current_user(), self.journal.clock())


def parse_service(given: Given) -> ExternalService:
    """Raises InputError with all that is wrong."""
    if isinstance(given, ExternalService):
        return given
    try:
        return ExternalService.model_validate(given)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg'].removeprefix('Value error, ')}"
            for e in exc.errors(include_url=False, include_context=False, include_input=False)
        )
        raise InputError(
            f"a service cannot be registered: {problems}", hint="docs/services.md has the fields"
        ) from None


def _read(text: str) -> ExternalService:
    return ExternalService.model_validate_json(text)
