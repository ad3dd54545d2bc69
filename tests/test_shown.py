"""What those see who watch Celery's events, as Flower does: each attempt of a step as a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery.events.state import State

from orch import Orchestrator

CODE = """
from orch import capability

@capability("look")
def look(fails: bool = False) -> None:
    if fails:
        raise ValueError("not this one")
"""

Until = Callable[[Callable[[], bool]], None]
"""Hears what is told until the condition holds."""


@contextmanager
def watched(
    orchestrator: Orchestrator, folder: Path, pool: str = "prefork"
) -> Iterator[tuple[State, Until]]:
    """A worker of one slot, and what Celery's own view makes of its events."""
    code = folder / "code.py"
    code.write_text(CODE)
    app = orchestrator.runtime.app
    state: State = app.events.State()
    with (
        orchestrator.workers(
            include=[str(code)], queues=["look"], concurrency=1, pool=pool, events=True
        ),
        app.connection_for_read() as connection,
    ):
        receiver = app.events.Receiver(connection, handlers={"*": state.event})
        watching = iter(receiver.itercapture(limit=None, timeout=15, wakeup=True))
        next(watching)  # from now on it hears

        def until(condition: Callable[[], bool]) -> None:
            while not condition():
                next(watching)

        yield state, until


def test_those_who_watch_see_every_step_as_a_task(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [
        {"id": "a", "capability": "look", "next": "b"},
        {"id": "b", "capability": "look", "input": {"fails": True}, "onError": "c"},
        {"id": "c", "capability": "look"},
    ]})  # fmt: skip
    with watched(orchestrator, tmp_path) as (state, until):
        started = orchestrator.start_workflow("w")
        started.wait(timeout=60)

        def seen() -> dict[str, tuple[str, str]]:
            return {t.args: (t.name, t.state) for t in state.tasks.values() if t.args}

        # The first one is told of anew when its attempt is known.
        until(lambda: [s for _, s in seen().values()].count("SUCCESS") == 2 and len(seen()) == 3)
    assert seen() == {
        f"w/a #1 (exec {started.id})": ("orch.look", "SUCCESS"),
        f"w/b #1 (exec {started.id})": ("orch.look", "FAILURE"),
        f"w/c #1 (exec {started.id})": ("orch.look", "SUCCESS"),
    }
    failed = next(t for t in state.tasks.values() if t.args.startswith("w/b"))
    assert failed.exception == "ValueError('not this one')"
    assert failed.worker is not None and failed.runtime is None
    assert all(t.runtime >= 0 for t in state.tasks.values() if t.state == "SUCCESS")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_a_message_turned_out_to_be_for_is_told_behind_the_message(
    orchestrator: Orchestrator, tmp_path: Path, pool: str
) -> None:
    """Two processes tell of it, and who hears of the message last takes its word for it."""
    step = {"id": "a", "capability": "look"}
    orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    with watched(orchestrator, tmp_path, pool) as (state, until):
        ids = []
        for _ in range(30):
            ids.append(orchestrator.start_workflow("w").id)
            orchestrator.execution(ids[-1]).wait(timeout=60)

        def states() -> list[str]:
            return [task.state for task in state.tasks.values()]

        until(lambda: states().count("SUCCESS") == len(ids))
    assert {t.args for t in state.tasks.values()} == {f"w/a #1 (exec {id})" for id in ids}
