"""Many starts at once: scripts in one pipeline, messages in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from celery.canvas import Signature

from orch.control.starting import (
    START_PATIENCE,
    Started,
    checked_input,
    execution_id,
    make_start,
)
from orch.errors import InputError, OrchError, Unreachable
from orch.faults import fault
from orch.journal.journal import Start
from orch.journal.versions import Canary
from orch.workflows.canary import is_chosen
from orch.workflows.canvas import compile_canvas
from orch.workflows.message import addresses_in
from orch.workflows.plan import Plan
from orch.workflows.starts import StartGiven, start_options
from orch.workflows.state import ExecutionStatus

if TYPE_CHECKING:
    from orch.control.manager import WorkflowManager

BATCH = 500
"""Starts that go to Redis together."""
BATCH_BYTES = 4_194_304
"""Characters of input after which a batch is full."""

_OPTIONS = StartGiven.__annotations__.keys()


@dataclass(frozen=True)
class StartRequest:
    """One of many starts. ``options`` as `StartGiven`."""

    name: str
    input: Any = None
    idempotency_key: str | None = None
    version: str | None = None
    options: StartGiven = field(default_factory=lambda: StartGiven())

    @classmethod
    def of(cls, given: Asked) -> StartRequest:
        """Also from (name, input, options), or a mapping of such names. Raises InputError.

        ``options`` may hold `idempotency_key` and `version`, which stand beside the rest in a
        mapping.
        """
        if isinstance(given, StartRequest):
            return given
        if isinstance(given, OrchError):
            raise given
        if isinstance(given, Mapping):
            rest = dict(given)
            name, input = rest.pop("name", None), rest.pop("input", None)
        else:
            if isinstance(given, str) or not 1 <= len(given) <= 3:
                raise InputError(f"{given!r} is no start", hint="give (name, input, options)")
            name = given[0]
            input = given[1] if len(given) > 1 else None
            rest = dict(given[2] or {}) if len(given) > 2 else {}
        key = rest.pop("idempotency_key", None)
        if not isinstance(name, str):
            raise InputError(f"a start names a workflow, and {name!r} was found")
        version = rest.pop("version", None)
        for what, text in (("an idempotency key", key), ("a version", version)):
            if text is not None and not isinstance(text, str):
                raise InputError(f"{what} is a text, and {text!r} was found")
        if unknown := sorted(map(str, rest.keys() - _OPTIONS)):
            raise InputError(
                f"a start has no option {', '.join(unknown)}",
                hint=f"there are idempotency_key, version, {', '.join(sorted(_OPTIONS))}",
            )
        return cls(name, input, key, version, cast(StartGiven, rest))


Asked = StartRequest | Mapping[str, Any] | Sequence[Any] | OrchError
"""A request, or what it is made of; an error is answered in its turn."""


@dataclass(frozen=True)
class _Made:
    number: int
    request: StartRequest
    plan: Plan
    start: Start


class _Plans:
    """The plans of one batch, each asked for once."""

    def __init__(self, manager: WorkflowManager) -> None:
        self.manager = manager
        self.canaries: dict[str, Canary | None] = {}
        self.plans: dict[tuple[str, str | None], Plan] = {}

    def of(self, request: StartRequest, execution: str) -> Plan:
        name, version = request.name, request.version
        if name not in self.canaries:
            self.canaries[name] = self.manager.journal.choices(name)[1]
        canary = self.canaries[name]
        if version is None and canary is not None and is_chosen(name, execution, canary.percent):
            version = canary.version
        if (name, version) not in self.plans:
            self.plans[name, version] = self.manager.plan(name, version)
        return self.plans[name, version]


class Bulk:
    """Starts many executions for ``manager``."""

    def __init__(self, manager: WorkflowManager) -> None:
        self.manager = manager
        self.runtime = manager.runtime

    def start(self, given: Iterable[Asked]) -> Iterator[Started | OrchError]:
        """What became of each, in order; one that is refused does not hold up the others.

        While Redis is away it is waited for; then each start of the batch answers Unreachable.
        """
        batch: list[Asked] = []
        for each in given:
            batch.append(each)
            if len(batch) == BATCH:
                yield from self._batch(batch)
                batch = []
        yield from self._batch(batch)

    def _batch(self, given: Sequence[Asked]) -> list[Started | OrchError]:
        found: list[Started | OrchError | None] = [None] * len(given)
        made: list[_Made] = []
        plans = _Plans(self.manager)
        size = 0
        for number, each in enumerate(given):
            try:
                made.append(self._make(number, StartRequest.of(each), plans))
                size += len(made[-1].start.input)
            except OrchError as error:
                found[number] = error
            if size > BATCH_BYTES:
                self._commit(made, found)
                made, size = [], 0
        self._commit(made, found)
        return [each for each in found if each is not None]

    def _make(self, number: int, request: StartRequest, plans: _Plans) -> _Made:
        manager, journal = self.manager, self.manager.journal
        execution = execution_id(request.name, request.idempotency_key)
        plan = plans.of(request, execution)
        text = checked_input(manager.settings, request.name, plan.definition, request.input)
        start = make_start(
            journal,
            plan,
            request.name,
            execution,
            text,
            idempotency_key=request.idempotency_key,
            options=start_options(journal.clock(), self.runtime.below_caller(request.options)),
        )
        self.runtime.advancer.gating.admit(start)
        return _Made(number, request, plan, start)

    def _commit(self, made: Sequence[_Made], found: list[Started | OrchError | None]) -> None:
        if not made:
            return
        manager, journal = self.manager, self.manager.journal
        starts = [each.start for each in made]
        try:
            new = journal.patiently(lambda: journal.start_many(starts), START_PATIENCE)
        except Unreachable as error:
            for each in made:
                found[each.number] = error
            return
        fault("started")
        begun: list[_Made] = []
        for each, started in zip(made, new, strict=True):
            start, keyed = each.start, each.request.idempotency_key is not None
            if not started and keyed:
                self.runtime.advancer.gating.take_back(start.id, start.slots)
                record = journal.record(start.id)
                found[each.number] = Started(
                    start.id, record.workflow, record.version, existed=True
                )
                continue
            begun.append(each)
            found[each.number] = Started(
                start.id, start.workflow, start.version, warnings=manager.warnings(each.plan)
            )
        self._publish(begun)

    def _publish(self, begun: Sequence[_Made]) -> None:
        """Messages of all in one batch; what cannot be sent is left to the watch."""
        links = self.runtime.settings.chain_links
        tracing = self.runtime.tracing
        canvases: list[Signature] = []
        for each in begun:
            if each.start.transition is None or each.start.slots is not None:
                continue
            found = compile_canvas(
                each.plan,
                each.start.id,
                each.start.transition.dispatched,
                links=links,
                priority=each.start.priority,
                handoff=self.runtime.settings.handoff,
                addresses=addresses_in(each.start.transition.fields),
            )
            if tracing is not None:
                tracing.note_start(each.start)
                tracing.mark(found, each.start.id)
            canvases += found
        self.runtime.advancer.publish(lambda: self.runtime.send(canvases))
        for each in begun:
            if each.start.status is ExecutionStatus.QUEUED:
                self.runtime.advancer.begin(each.start.id)
            elif each.start.transition is not None:
                self.runtime.advancer.behind(each.plan, each.start.id, each.start.transition)
