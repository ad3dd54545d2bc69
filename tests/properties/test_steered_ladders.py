"""Random steering over escalated steps: what is paused goes on, what failed is tried anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from orch.control.status import execution_context
from orch.errors import OrchError
from orch.journal.journal import Journal
from orch.workflows.state import StepStatus
from tests.properties.test_ladders import Laddered, acts, ladders

verbs = st.sampled_from(["pause", "resume", "pause it", "resume it", "skip it", "again", "beside"])


class SteeredLadder(Laddered):
    """As its parent; it may be paused, skipped and, when it has failed, retried."""

    def act(self, what: str) -> None:
        branch = "both/0" if self.at.startswith("both") else None
        try:
            match what:
                case "pause" | "resume":
                    getattr(self.verbs, what)("x1", by="ada")
                case "pause it" | "resume it":
                    getattr(self.verbs, what.partition(" ")[0])("x1", by="ada", branch=branch)
                case "skip it":
                    self.verbs.skip("x1", self.at, "skipped", by="ada")
                case "again":
                    self.verbs.retry("x1", by="ada")
                case "beside":
                    self.beside()
                case _:
                    super().act(what)
        except OrchError:
            pass

    def beside(self) -> None:
        """The step in the other branch fails, and ends this one."""
        if self.status("both/1/beside") is StepStatus.DISPATCHED and self.ended() == "running":
            self.fail("both/1/beside")

    def works(self) -> list[str]:
        return super().works() if self.ended() in ("running", "paused") else []

    def check_rungs(self) -> None:
        """From one retry to the next, each rung is entered once, in its order."""
        entered: list[int] = []
        history = self.journal.history("x1")
        for entry in history:
            if entry.path != self.at:
                continue
            if entry.event == "escalated":
                entered = []
            if entry.event in ("escalated", "rung"):
                entered.append(entry.detail["rung"])
                self.check_order(entered)
        works = [e.path for e in history if "/~" in e.path and e.event == "claimed"]
        assert all(path in self.journal.steps("x1") for path in works)
        execution_context(self.journal, self.plans, "x1")


@pytest.mark.parametrize("inside", [False, True])
def test_whatever_is_steered_it_ends(journal: Journal, redis: Redis, inside: bool) -> None:
    @examples(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(ladder=ladders, script=st.lists(acts | verbs, max_size=16))
    def play(ladder: list[Any], script: list[str]) -> None:
        redis.flushdb()
        played = SteeredLadder(journal, ladder, inside=inside)
        for what in script:
            played.act(what)
            played.check()
        for what in ("resume", "resume it"):
            played.act(what)
        if inside and played.status("both/1/beside") is StepStatus.DISPATCHED:
            played.do("both/1/beside")
        for _ in range(60):
            if played.ended() != "running":
                break
            played.act("fail" if played.works() else "time")
            played.check()
        assert played.ended() in ("completed", "failed"), played.words()
        assert journal.open_escalations() == []

    play()
