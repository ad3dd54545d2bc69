"""From the options of a command to settings, and to an Orchestrator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orch.cli.options import Broker, DataDir, Redis
from orch.errors import NotFound, SettingsError

if TYPE_CHECKING:
    from orch.control.filters import Filters
    from orch.orchestrator import Orchestrator
    from orch.settings import Settings

ID_DIGITS = 16
SEARCHED = 1000
"""Latest executions among which the beginning of an id is looked for."""


@dataclass(frozen=True)
class Connect:
    """The options that say where the journal and the broker are; `with_options` adds them.

    Called, it is an Orchestrator for the time of a ``with`` block.
    """

    redis: Redis = None
    data_dir: DataDir = None
    broker: Broker = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Orchestrator]:
        """Raises Unreachable, SettingsError."""
        settings = self.settings()
        from orch.orchestrator import Orchestrator

        with Orchestrator(settings) as orchestrator:
            yield orchestrator

    def settings(self) -> Settings:
        """Settings with the options on top. ``--data-dir`` asks for the embedded server in it.

        Raises SettingsError, also when both --redis and --data-dir are given.
        """
        from orch.settings import load_settings

        if self.redis and self.data_dir:
            raise SettingsError(
                "--redis names a server, and --data-dir asks for the embedded one",
                hint="give one of them",
            )
        settings = load_settings(
            redis_url=self.redis, data_dir=self.data_dir, broker_url=self.broker
        )
        if self.data_dir is not None:
            settings = settings.model_copy(update={"redis_url": None, "use_local_redis": False})
        return settings


def check_broker(orchestrator: Orchestrator) -> None:
    """Make sure that a broker of its own answers: without it nothing would be carried.

    Raises Unreachable. A broker in the Redis of the journal has answered before.
    """
    if not orchestrator.settings.broker_url:
        return
    from orch.app import check_broker as check

    check(orchestrator.runtime.app)


def resolve_parent(orchestrator: Orchestrator, filters: Filters) -> Filters:
    """Filters with the whole id of the parent. Raises NotFound."""
    parent = filters.get("parent")
    return filters if not parent else {**filters, "parent": find_execution(orchestrator, parent)}


def find_token(orchestrator: Orchestrator, id: str) -> str:
    """EXECUTION:PATH with the whole id of its execution. Raises NotFound."""
    own, colon, rest = id.partition(":")
    return f"{find_execution(orchestrator, own)}:{rest}" if colon and own else id


def find_execution(orchestrator: Orchestrator, id: str) -> str:
    """The whole id of an execution, of which ``id`` may be the beginning. Raises NotFound."""
    if len(id) >= ID_DIGITS:
        return id
    from orch.journal.finding import Query

    journal = orchestrator.runtime.journal
    if journal.status(id) is not None:
        return id
    found = journal.find_ids(Query(), beginning=id, most=SEARCHED) if id else []
    if len(found) > 1:
        raise NotFound(
            f"{id!r} is the beginning of {len(found)} executions: {', '.join(sorted(found)[:5])}",
            hint="give more digits",
        )
    return found[0] if found else id
