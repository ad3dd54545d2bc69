"""Executions whose steps can be undone: played by one worker, or real ones of a shop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orch import Orchestrator
from orch.control.advance import Advancer
from orch.control.manager import WorkflowManager
from orch.control.plans import Plans
from orch.control.runtime import Runtime
from orch.control.status import ExecutionContext, execution_context
from orch.control.steering import Steering
from orch.journal.journal import Claimed, Journal
from orch.workflows.calls import Call
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import StepStatus
from tests.build import FakeClock, Worked, runtime_of, start, task

CAPABILITIES = """
import os, signal, time
from pathlib import Path
from orch import Context, StepError, capability

@capability("charge")
def charge(context: Context, file: str, hold: str = "") -> str:
    with open(file, "a") as log:
        log.write(f"charge {context.path}\\n")
    while hold == "asks":
        context.raise_if_cancelled()
        time.sleep(0.02)
    while hold == "deaf":
        time.sleep(0.02)
    while hold.startswith("fails"):
        time.sleep(0.02)
        if Path(hold.removeprefix("fails ")).exists():
            raise StepError("StepError", "no")
    return context.path

@capability("refund")
def refund(context: Context, file: str, of: str, die: str = "") -> str:
    with open(file, "a") as log:
        log.write(f"refund {of} {context.attempt}\\n")
    if die == of and context.attempt == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return of
"""

UNDO = {"capability": "undo", "input": {"of": "$.output", "x": "$.input.x"}}


def undoable(step_id: str, next: Any = None, **more: Any) -> dict[str, Any]:
    return task(step_id, next, compensate=UNDO, **more)


class Played:
    """An execution ``x1``, one worker, and who cancels it."""

    def __init__(self, worked: Worked) -> None:
        self.worked = worked
        self.journal = worked.journal
        self.plans = Plans(self.journal)
        self.advancer = Advancer(self.journal, self.plans, worked.dispatch)
        self.verbs = Steering(self.runtime)

    @property
    def runtime(self) -> Any:
        return runtime_of(self.advancer)

    def do(self, path: str, output: Any = None) -> None:
        self.settle(path, self.worked.take(path), Completed(output))

    def settle(self, path: str, claimed: Claimed, outcome: Any) -> Any:
        return self.advancer.settle(
            self.worked.plan, claimed.view, path, claimed.state, outcome, late="me"
        )

    def fail(self, path: str, name: str = "Broken") -> None:
        claimed = self.worked.take(path)
        self.settle(path, claimed, Failed(Failure(name, "no", path, path, claimed.state.attempt)))

    def look(self, ms: int) -> None:
        """So much time passes, then what is due is looked at, as a warden does."""
        clock = self.journal.clock
        assert isinstance(clock, FakeClock)
        clock.advance(ms)
        _, due = self.journal.take_due()
        for execution, path in due:
            if not path:
                self.advancer.look_at_whole(execution)
                continue
            found = self.journal.read_state(execution, path)
            if found is not None and found[1].status is StepStatus.RETRYING:
                self.advancer.redispatch(execution, path, found[1])

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.journal.record("x1").error or {})

    def live(self) -> dict[str, str]:
        fields = self.journal.steps("x1")
        found = {p: json.loads(t)[0] for p, t in fields.items() if p[0] not in "=!?"}
        ended = ("completed", "failed", "cancelled", "skipped")
        return {path: status for path, status in found.items() if status not in ended}

    def context(self) -> ExecutionContext:
        return execution_context(self.journal, self.plans, "x1")


def played(journal: Journal, *steps: dict[str, Any], **more: Any) -> Played:
    return Played(start(journal, *steps, **more))


class Family:
    """A parent and the child that it calls, each with something behind it that can be undone."""

    def __init__(self, runtime: Runtime) -> None:
        runtime.advancer.dispatch = lambda *_: None
        self.journal, self.advancer = runtime.journal, runtime.advancer
        self.manager = manager = WorkflowManager(runtime)
        manager.define("child", {"name": "c", "steps": [undoable("c1", "c2"), task("c2")]})
        call = {"id": "call", "type": "subworkflow", "subworkflow": "child"}
        manager.define("parent", {"name": "p", "steps": [undoable("a", "call"), call]})
        self.top = manager.start("parent").id
        self.below = Call(self.top, "call", 1).child
        self.parent = Played(Worked(self.journal, manager.plan("parent"), self.top))
        self.child = Played(Worked(self.journal, manager.plan("child"), self.below))
        self.parent.advancer = self.child.advancer = self.advancer
        self.parent.do("a")
        self.child.do("c1")


class Shop:
    """A workflow of three charges; the last one of ``hold``."""

    def __init__(self, orchestrator: Orchestrator, folder: Path, hold: str, die: str = "") -> None:
        self.module = folder / "shop.py"
        self.module.write_text(CAPABILITIES)
        self.log = folder / "log"
        undo = {
            "capability": "refund",
            "input": {"file": str(self.log), "of": "$.output", "die": die},
        }

        def charge(name: str, following: str | None, **more: Any) -> dict[str, Any]:
            given = {"file": str(self.log), **more}
            return {
                "id": name,
                "capability": "charge",
                "input": given,
                "compensate": undo,
                "next": following,
            }

        steps = [charge("a", "b"), charge("b", "c"), charge("c", None, hold=hold)]
        orchestrator.define_workflow("shop", {"name": "shop", "steps": steps})

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []
