"""Makes the Celery app of a worker: capabilities, warden, settings."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
from celery import Celery, signals
from celery.worker import WorkController
from kombu.entity import Queue

from orch.agents.builtin import BUILTIN_MODULES
from orch.agents.capability import registry
from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.models.choosing import configure_models
from orch.agents.notion.account import use_account
from orch.agents.permissions import permit
from orch.app import check_broker, create_app
from orch.breaker import Breaker
from orch.control.runtime import Runtime
from orch.errors import SettingsError
from orch.fallback import Fallback
from orch.faults import arm
from orch.journal.wire import Wire
from orch.server import Server, find_server
from orch.settings import Settings, load_settings
from orch.tasks.archiver import Archiver, ArchiverStep
from orch.tasks.breaker import Guard
from orch.tasks.drawing import Drawing
from orch.tasks.escalation import register_escalation_tasks
from orch.tasks.flow import register_flow_tasks
from orch.tasks.incarnation import current_incarnation
from orch.tasks.limits import limit_of
from orch.tasks.observer import ObserverStep, Watcher
from orch.tasks.request import StepRequest
from orch.tasks.step import Caller, FindCaller, call_capability, run_step
from orch.tasks.tally import open_tally
from orch.tasks.traced import trace_worker
from orch.tasks.tracing import Tracer, step_tracer
from orch.tasks.warden import Warden, WardenStep
from orch.workflows.agents import queues_of_agent
from orch.workflows.declared import FIRST_VERSION, Declared
from orch.workflows.node import TASK_PREFIX, Node
from orch.workflows.notices import ESCALATION_QUEUE

logger = logging.getLogger(__name__)


class StepTask(celery.Task):
    """A Celery task that runs the steps of one capability."""

    Request = StepRequest
    abstract = True
    ignore_result = True
    drawing: Drawing | None = None
    _tracer: Tracer | None = None

    @property
    def __trace__(self) -> Tracer | None:
        """What Celery calls for each message. It sets this when a process of its pool begins."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, theirs: Tracer | None) -> None:
        self._tracer = step_tracer(self, theirs)


def create_worker_app(settings: Settings | None = None) -> Celery:
    """The app for ``celery -A worker worker``, with every capability that it has code for.

    Raises NoServer or Unreachable when there is no Redis, SettingsError when a module of
    ``ORCH_INCLUDE`` cannot be imported.
    """
    settings = settings or load_settings()
    permit(settings)
    use_account(settings)
    configure_models(settings)
    modules = import_modules(settings)
    server = find_server(settings)
    app = create_app(settings, server.url)
    app.set_default()
    if settings.broker_url:
        check_broker(app, only_refusals=True)
    runtime = Runtime(settings, server.url, app)
    runtime.journal.check()
    arm(settings.fault_point)
    current_incarnation()
    if runtime.tracing is not None:
        trace_worker(runtime.tracing)
    callers = {name: call_capability(found) for name, found in registry().items()}
    callers |= {task.name: call_celery_task(task) for task in celery_tasks(modules)}
    declarations = declared_of(callers)
    runtime.journal.declare_capabilities(declarations)
    runtime.declarations.know(declarations)

    def find(node: Node) -> Caller | None:
        served = node.queue in app.amqp.queues.consume_from
        return callers.get(node.capability) if served else None

    declared = {name: breaker_of(name, settings) for name in callers}
    runtime.journal.declare_breakers(declared)
    for name, breaker in declared.items():
        if breaker is not None:
            callers[name].breaker = Guard(runtime.journal, name, breaker)  # type: ignore[attr-defined]
    kept = {name: fallback_of_capability(name, settings) for name in callers}
    runtime.journal.declare_fallbacks(kept)
    for name, fallback in kept.items():
        if fallback is not None:
            callers[name].fallback = fallback  # type: ignore[attr-defined]
    limits = {name: limit_of(name, settings) for name in callers}
    runtime.journal.declare_limits(limits)
    for name, limit in limits.items():
        if limit is not None:
            callers[name].limit = limit  # type: ignore[attr-defined]
    runtime.journal.declare_resources(settings.resources)
    drawing = None
    if runtime.lists is not None and runtime.tracing is None:
        drawing = Drawing(runtime, runtime.lists)
    for name, caller in callers.items():
        register_step_task(app, runtime, name, caller, find).drawing = drawing
    open_tally(callers)
    poll_in_pool(runtime.journal.wire, settings.busy_poll)
    register_flow_tasks(app, runtime)
    register_escalation_tasks(app, runtime)
    served = {*callers, *([ESCALATION_QUEUE] if settings.serve_escalation else [])}
    queues = [Queue(name, routing_key=name) for name in sorted(served)]  # type: ignore[no-untyped-call]
    app.conf.task_queues = queues
    app.conf.worker_consumer = "orch.tasks.consumer:PromptConsumer"
    app.steps["worker"].add(WardenStep)
    app.steps["worker"].add(ArchiverStep)
    app.steps["worker"].add(ObserverStep)
    app.orch_make_watcher = lambda: (
        Watcher(settings, server.url, app) if settings.monitor_interval else None
    )
    app.orch_make_archiver = lambda: (
        Archiver(settings, server.url) if settings.archive_dir is not None else None
    )
    app.orch_make_warden = lambda worker: make_warden(settings, server, app, worker)
    app.orch_capabilities = frozenset(served)
    app.orch_callers = frozenset(callers)
    return app


def poll_in_pool(wire: Wire, seconds: float) -> None:
    """Only where a process does one thing: a thread that looks would keep others from running."""

    def begin(**_: Any) -> None:
        wire.busy_poll = seconds

    signals.worker_process_init.connect(begin, weak=False)


def declared_of(names: Iterable[str]) -> dict[str, Declared]:
    """What the code of this process says of its capabilities; nothing, of Celery tasks."""
    known = registry()
    return {name: known[name].declared if name in known else Declared() for name in names}


def offered_by(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What is published of each capability that this worker has code for."""
    known = registry()
    nothing = {"version": FIRST_VERSION}  # is known of a Celery task
    return {name: known[name].as_dict() if name in known else nothing for name in names}


def breaker_of(name: str, settings: Settings) -> Breaker | None:
    """What the settings say of a capability, else what is declared with it."""
    if name in settings.breakers:
        return settings.breakers[name]
    found = registry().get(name)
    return found.breaker if found is not None else None


def fallback_of_capability(name: str, settings: Settings) -> Fallback | None:
    """What the settings say of a capability, else what is declared with it."""
    if name in settings.fallbacks:
        return settings.fallbacks[name]
    found = registry().get(name)
    return found.fallback if found is not None else None


def import_modules(settings: Settings) -> list[ModuleType]:
    """Import the built-in capabilities and those of the setting `include`."""
    names = [*(BUILTIN_MODULES if settings.builtins else ()), *settings.include]
    return [import_module(name) for name in names]


def import_module(name: str) -> ModuleType:
    """A module by dotted name, or a .py file by path. Raises SettingsError."""
    try:
        if not name.endswith(".py"):
            if (here := str(Path.cwd())) not in sys.path:
                sys.path.insert(0, here)
            return importlib.import_module(name)
        path = Path(name).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.exists():
            raise ImportError(f"no such file: {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except SettingsError:
        raise
    except Exception as exc:
        raise SettingsError(
            f"{name!r}, named as a module with capabilities, cannot be imported: "
            f"{type(exc).__name__}: {exc}",
            hint="ORCH_INCLUDE takes dotted module names and paths of .py files, comma-separated",
        ) from exc


def celery_tasks(modules: list[ModuleType]) -> Iterator[celery.Task]:
    """The user's own Celery tasks in the included modules: each can be a step."""
    for module in modules:
        for value in list(vars(module).values()):
            if isinstance(value, celery.Task) and not value.name.startswith(
                (TASK_PREFIX, "celery.")
            ):
                yield value


def call_celery_task(task: celery.Task) -> Caller:
    """Call an existing Celery task as it is: a mapping as keywords, a list as arguments."""

    def call(node: Node, seen: Mapping[str, Any], context: Context) -> Any:
        given = node.input.evaluate(seen)
        if isinstance(given, list):
            return to_json_value(task(*given), capability=node.capability)
        return to_json_value(task(**(given or {})), capability=node.capability)

    return call


def register_step_task(
    app: Celery, runtime: Runtime, name: str, caller: Caller, find: FindCaller
) -> StepTask:
    @app.task(name=TASK_PREFIX + name, base=StepTask, bind=True, ignore_result=True)
    def step(
        self: celery.Task, execution: str, path: str, plan: str, others: Sequence[str] = ()
    ) -> str:
        return run_step(runtime, self.request, caller, execution, path, plan, find, others)

    made: StepTask = step
    return made


def make_warden(settings: Settings, server: Server, app: Celery, worker: WorkController) -> Warden:
    pool = type(worker.pool).__module__.rpartition(".")[2]
    warden = Warden(
        settings,
        server.url,
        app,
        served=lambda: sorted(
            name
            for name in app.amqp.queues.consume_from
            if name not in queues_of_agent(worker.hostname)
        ),
        about={"name": worker.hostname, "pool": pool, "concurrency": worker.concurrency},
        lease=server.lease,
        offered=offered_by(app.orch_callers),
    )
    warden.runtime.declarations.know(declared_of(app.orch_callers))
    return warden


@signals.celeryd_after_setup.connect
def _serve_own_queues(instance: Any, **_: Any) -> None:
    """Also where `-Q` names the queues: what this agent alone is to do, and what is to be told."""
    known = getattr(instance.app, "orch_capabilities", None)
    if known is None:
        return
    for queue in queues_of_agent(instance.hostname):
        instance.app.amqp.queues.select_add(queue)
    if ESCALATION_QUEUE in known:
        instance.app.amqp.queues.select_add(ESCALATION_QUEUE)


@signals.celeryd_after_setup.connect
def _warn_of_queues_without_code(instance: Any, **_: Any) -> None:
    known = getattr(instance.app, "orch_capabilities", None)
    if known is None:
        return
    for name in instance.app.amqp.queues.consume_from:
        if name not in known and name not in queues_of_agent(instance.hostname):
            logger.warning(
                "this worker has no code for a capability %r; it serves only steps that name "
                "%r as their queue. Name the module that has it: ORCH_INCLUDE=package.module",
                name,
                name,
            )
