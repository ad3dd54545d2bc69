"""A start that is written from a template is, byte for byte, the one that is made."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.control.alike import Alike
from orch.control.starting import begins_alike, make_start
from orch.journal.journal import Journal
from orch.journal.scripts import load
from orch.journal.wire import as_sent
from orch.workflows.frozen import changed
from orch.workflows.plan import Plan
from orch.workflows.state import encode
from tests.properties.test_invariants import Case, cases

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)
IDS = st.integers(0, (1 << 64) - 1).map("{:016x}".format)
INSTANTS = st.integers(1_000_000_000_000, 9_999_999_999_999)


def as_bytes(parts: Any) -> list[bytes]:
    return [part if isinstance(part, bytes) else str(part).encode() for part in parts]


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=cases(), execution=IDS, now=INSTANTS, input=JSON, priority=st.integers(0, 9),
    key=st.text(min_size=1, max_size=20), word=st.sampled_from(["", "0a1b2c3d"]),
)  # fmt: skip
def test_it_is_what_is_made_whatever_the_workflow_its_name_the_input_and_the_instant(
    journal: Journal, case: Case, execution: str, now: int, input: Any, priority: int,
    key: str, word: str,
) -> None:  # fmt: skip
    plan = Plan(case.definition.model_copy(update={"priority": priority}))
    template = Alike(journal).template(plan, key, word)
    assert (template is not None) == begins_alike(plan)
    if template is None:
        return
    text = encode(input)
    start = changed(make_start(journal, plan, key, execution, text, now=now), word=word)
    made = load()["start"].command(journal._all_of(start, now))
    assert template.write(execution, now, text) == as_sent(as_bytes(made))
