"""What Celery does around a task is done around a step, as far as anybody notices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from celery import Celery, current_task, signals, states
from celery.app.trace import build_tracer

from orch.app import create_app
from orch.settings import Settings
from orch.tasks.tracing import step_tracer
from orch.tasks.worker import StepTask

ID = "5a1c0d3e-0000-4000-8000-000000000001"
MESSAGE = {"id": ID, "root_id": ID, "argsrepr": "w/a", "delivery_info": {}, "custom": "kept"}


@pytest.fixture
def app(settings: Settings, redis_url: str) -> Iterator[Celery]:
    app = create_app(settings, redis_url)
    yield app
    app.close()


@pytest.fixture
def task(app: Celery) -> Any:
    """A task whose function is that of the test, in the process of a worker."""

    @app.task(name="orch.work", base=StepTask, bind=True, ignore_result=True, shared=False)
    def step(self: Any, *args: str) -> str:
        return str(self.does(*args))

    task = app.tasks["orch.work"]
    task.does = lambda *args: " ".join(args)
    task.__trace__ = build_tracer(task.name, task, app.loader, "host", app=app)
    return task


def trace(task: Any, **more: Any) -> Any:
    return task.__trace__(ID, ["x", "a"], {}, {**MESSAGE, **more})


def is_ours(task: Any) -> bool:
    return bool(task.__trace__.__module__ == "orch.tasks.tracing")


def test_the_release_whose_tracer_is_known_is_the_one_that_runs(task: Any) -> None:
    """If this fails, look at what the new tracer does, then name the release in `KNOWN`."""
    assert is_ours(task)


def test_the_answer_is_that_of_celery(task: Any, app: Celery) -> None:
    ours, theirs = (
        trace(task),
        build_tracer(task.name, task, app.loader, "host", app=app)(
            ID, ["x", "a"], {}, dict(MESSAGE)
        ),
    )
    assert (ours.retval, ours.info, ours.retstr) == (theirs.retval, theirs.info, theirs.retstr)
    assert ours.runtime >= 0
    assert ours.retval == "x a"


def test_the_step_knows_its_request(task: Any) -> None:
    seen: dict[str, Any] = {}

    def does(*args: str) -> str:
        request = task.request
        seen.update(id=request.id, args=request.args, own=request.get("custom"))
        seen["current"] = current_task.request.id
        return "done"

    task.does = does
    trace(task)
    assert seen == {"id": ID, "args": ["x", "a"], "own": "kept", "current": ID}
    assert task.request.id is None
    assert not current_task


def test_what_is_raised_is_a_failure_and_leaves_nothing_behind(task: Any) -> None:
    def does(*args: str) -> str:
        raise RuntimeError("not settled")

    task.does = does
    found = trace(task)
    assert found.info.state == states.FAILURE
    assert "not settled" in str(found.retval.exception)
    assert task.request.id is None
    assert not current_task


def test_the_end_of_the_worker_goes_through(task: Any) -> None:
    def does(*args: str) -> str:
        raise SystemExit(1)

    task.does = does
    with pytest.raises(SystemExit):
        trace(task)
    assert task.request.id is None


@pytest.mark.parametrize(
    "signal", [signals.task_prerun, signals.task_postrun, signals.task_success]
)
def test_who_listens_is_told(task: Any, signal: Any) -> None:
    told = []

    def listen(**given: Any) -> None:
        told.append(given["sender"].name)

    signal.connect(listen)
    try:
        trace(task)
    finally:
        signal.disconnect(listen)
    trace(task)
    assert told == ["orch.work"]


def test_who_listens_to_failures_is_told(task: Any) -> None:
    told = []

    def listen(exception: Exception, **given: Any) -> None:
        told.append(str(exception))

    def does(*args: str) -> str:
        raise RuntimeError("not settled")

    task.does = does
    signals.task_failure.connect(listen)
    try:
        trace(task)
    finally:
        signals.task_failure.disconnect(listen)
    assert told == ["not settled"]


def test_a_tracer_that_somebody_wrapped_is_left(task: Any, app: Celery) -> None:
    built = build_tracer(task.name, task, app.loader, "host", app=app)

    @wraps(built)
    def observed(*args: Any, **kwargs: Any) -> Any:
        return built(*args, **kwargs)

    assert step_tracer(task, observed) is observed
    assert step_tracer(task, None) is None


def test_a_call_that_somebody_wrapped_is_left(task: Any, app: Celery) -> None:
    class Observed(type(task)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    built = build_tracer(task.name, task, app.loader, "host", app=app)
    other = Observed()
    other.bind(app)
    assert step_tracer(other, built) is built


def test_where_successes_are_logged_celery_logs_them(
    task: Any, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("celery.app.trace"), "level", logging.INFO)
    logging.getLogger("celery.app.trace").manager._clear_cache()  # type: ignore[attr-defined]
    built = build_tracer(task.name, task, app.loader, "host", app=app)
    try:
        assert step_tracer(task, built) is built
    finally:
        monkeypatch.undo()
        logging.getLogger("celery.app.trace").manager._clear_cache()  # type: ignore[attr-defined]


def test_the_member_of_a_chord_is_counted_by_celery(
    task: Any, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    monkeypatch.setattr(
        type(app.backend),
        "on_chord_part_return",
        lambda self, request, *rest, **more: counted.append(request.id),
    )
    body = task.si().set(task_id=ID)
    trace(task, chord=dict(body), group=ID)
    assert counted == [ID]
