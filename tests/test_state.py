"""How a step's state is stored: short, the same after a round trip, and as scripts leave it."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.journal.journal import Journal
from orch.workflows.outcome import Completed, Failed
from orch.workflows.reopening import Reopening, Token
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from tests.build import failure, start, task, wait

instants = st.integers(0, 1 << 45)
counts = {f.name: st.integers(0, 10_000) for f in fields(StepState) if f.type == "int"}


@given(
    st.builds(
        StepState, st.sampled_from(StepStatus), owner=st.text(max_size=9),
        **{**counts, "since": instants, "started": instants, "due": instants},
    )
)  # fmt: skip
def test_it_comes_back_as_it_was(state: StepState) -> None:
    assert StepState.loads(state.dumps()) == state


def test_one_of_an_older_release_is_read() -> None:
    text = '["completed",2,1,0,1795233549301,"vm-26653-f6c7c2/26655/08c2",1795233549300]'
    state = StepState.loads(text)
    assert (state.since - state.started, state.owner) == (1, "vm-26653-f6c7c2/26655/08c2")
    assert state.attempt == 2


def test_one_that_ended_or_waits_is_short_enough_for_a_small_hash(journal: Journal) -> None:
    worked = start(journal, task("a", "w"), wait("w", 9_000_000_000))
    claimed = worked.take("a", "a-worker-of-a-long-name-1-f6c7c2/26655/08c2-12345678")
    journal.clock.advance(70_000)  # type: ignore[attr-defined]
    worked.settle("a", claimed, Completed(None))
    texts = journal.steps("x1")
    assert json.loads(texts["a"])[5:] == ["08c2", -70_001]
    assert max(len(texts[path]) for path in "aw") < 60
    assert worked.state("w").started == journal.clock()


@pytest.mark.parametrize("verb", ["end", "cancel"])
def test_a_timer_that_is_cancelled_keeps_when_it_began(journal: Journal, verb: str) -> None:
    worked = start(journal, wait("w", 9000))
    begun = worked.state("w").started
    journal.clock.advance(500)  # type: ignore[attr-defined]
    if verb == "end":
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
    else:
        journal.cancel("x1", "no", by="ada", grace=1000, undoes=False)
    state = worked.state("w")
    assert (state.status, state.started) == (StepStatus.CANCELLED, begun)
    assert state.since == begun + 500


def test_a_step_that_is_tried_again_keeps_when_it_began(journal: Journal) -> None:
    worked = start(journal, task("a"))
    claimed = worked.take("a")
    begun = claimed.state.started
    journal.clock.advance(500)  # type: ignore[attr-defined]
    worked.settle("a", claimed, Failed(failure()))
    assert worked.state("a").started == begun
    journal.retry("x1", Reopening({"a": Token("a", StepStatus.DISPATCHED)}))
    assert worked.state("a").started == begun
    assert worked.state("a").attempt == 2
