"""An execution whose failures are escalated, on a virtual clock, without Celery."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orch.control.advance import Advancer
from orch.control.placing import Placing
from orch.control.plans import Plans
from orch.control.steering import Steering
from orch.journal.journal import Journal
from orch.tasks.warden import Warden
from orch.workflows.escalation import Escalation, Ruling
from orch.workflows.notices import EVENTS
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import StepState, StepStatus
from tests.build import FakeClock, Worked, start

MINUTE = 60_000
HOUR = 60 * MINUTE


class PlayedWarden(Warden):
    """The decisions of the real warden, without its thread, its broker and its signs of life."""

    def __init__(self, worked: Worked, advancer: Advancer, plans: Plans) -> None:
        self.worked = worked
        self.settings = worked.journal.settings
        self.journal = worked.journal
        self.advancer = advancer
        runtime: Any = SimpleNamespace(
            plans=plans,
            settings=self.settings,
            declarations=advancer.declarations,
            placing=Placing(self.journal),
        )
        self.runtime = runtime
        self._stopping = False

    def say_alive(self) -> None:
        """Nobody asks."""

    def _settle_lost_children(self) -> None:
        """There are none."""

    def _depth(self, name: str) -> int:
        return len(self.worked.sent)


class Played:
    """``told``: the notices of escalations for which a task was sent, as (event, id)."""

    def __init__(self, journal: Journal, *steps: dict[str, Any], **more: Any) -> None:
        self.journal = journal
        self.worked = start(journal, *steps, **more)
        self.plans = Plans(journal)
        self.advancer = Advancer(journal, self.plans, self.worked.dispatch)
        self.told: list[tuple[str, str]] = []
        self.advancer.tell = self.hear
        self.warden = PlayedWarden(self.worked, self.advancer, self.plans)
        runtime: Any = SimpleNamespace(
            settings=journal.settings, journal=journal, plans=self.plans, advancer=self.advancer
        )
        self.verbs = Steering(runtime)
        for path, text in journal.steps("x1").items():
            if path[0] not in "=!?" and StepState.loads(text).status is StepStatus.ENTERING:
                self.advancer.join("x1", path)

    def hear(self, event: str, notice: str) -> None:
        if event in EVENTS:
            self.told.append((event, notice))

    def look(self, ms: int = 0) -> None:
        """So much time passes; then the warden looks."""
        clock = self.journal.clock
        assert isinstance(clock, FakeClock)
        clock.advance(ms)
        self.warden.look()

    def fail(self, path: str, name: str = "Broken", **more: Any) -> None:
        claimed = self.worked.take(path)
        step = path.partition("/~")[0].rpartition("/")[2].partition("#")[0]
        failure = Failure(name, "it broke", step, path, claimed.state.attempt, **more)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Failed(failure))

    def do(self, path: str, output: object = None) -> None:
        claimed = self.worked.take(path)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Completed(output))

    def rule(self, path: str, word: Any, by: str = "ada", **more: Any) -> Escalation:
        now = self.journal.clock()
        return self.advancer.rule("x1", path, Ruling(word, by, now, **more))

    def status(self, path: str) -> StepStatus | None:
        found = self.journal.read_state("x1", path)
        return found[1].status if found is not None else None

    def record(self, path: str) -> Escalation:
        found = self.journal.read_escalation("x1", path)
        assert found is not None
        return found

    def ended(self) -> str:
        return self.journal.record("x1").status.value

    def words(self, path: str = "") -> list[str]:
        return [e.event for e in self.journal.history("x1") if not path or e.path == path]
