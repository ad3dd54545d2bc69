"""Which agent does something: never one that cannot, and the better ones more often."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.workflows.agents import OTHER, Agent
from orch.workflows.choosing import choose_agent, draw, weight_of
from orch.workflows.ranges import VersionRange

AGENTS = st.lists(
    st.builds(
        Agent,
        name=st.sampled_from([f"a{n}@h" for n in range(8)]),
        incarnation=st.just("i"),
        queues=st.sampled_from([frozenset({"q"}), frozenset({"q", "r"}), frozenset()]),
        load=st.integers(0, 100),
        concurrency=st.integers(1, 8),
        success=st.floats(0, 1),
    ),
    unique_by=lambda agent: agent.name,
)


def agent(name: str, load: int = 0, success: float = 1.0, concurrency: int = 4) -> Agent:
    return Agent(name, "i", frozenset({"q"}), load, concurrency, success)


@given(AGENTS, st.sets(st.sampled_from([f"a{n}@h" for n in range(8)])), st.text())
def test_never_one_that_has_failed_nor_one_that_does_not_serve_it(
    agents: list[Agent], failed: set[str], key: str
) -> None:
    """One that is drained or dead serves nothing."""
    fit = {each.name for each in agents if "q" in each.queues} - failed
    chosen = choose_agent(agents, "q", OTHER, failed, key)
    assert (chosen.name in fit) if chosen else not fit


@given(AGENTS, st.text())
def test_the_order_in_which_they_are_named_says_nothing(agents: list[Agent], key: str) -> None:
    assert draw(agents, key) == draw(list(reversed(agents)), key)


@given(AGENTS, st.text(), st.data())
def test_where_one_goes_only_what_was_its_own_moves(
    agents: list[Agent], key: str, data: st.DataObject
) -> None:
    chosen = draw(agents, key)
    others = [each for each in agents if each != chosen]
    if chosen is not None and others:
        gone = data.draw(st.sampled_from(others))
        assert draw([each for each in agents if each != gone], key) == chosen


def test_each_gets_its_share_in_proportion_to_its_weight() -> None:
    agents = [agent("idle"), agent("full", load=4), agent("failing", success=0.25)]
    counts = Counter(chosen.name for n in range(4000) if (chosen := draw(agents, str(n))))
    total = sum(map(weight_of, agents))
    for each in agents:
        assert counts[each.name] / 4000 == pytest.approx(weight_of(each) / total, abs=0.03)
    assert counts["idle"] > counts["full"] > counts["failing"] > 0


def test_an_even_draw_does_not_ask_what_they_have_to_do() -> None:
    agents = [agent("idle"), agent("full", load=400)]
    counts = Counter(each.name for n in range(1000) if (each := draw(agents, str(n), even=True)))
    assert counts["full"] == pytest.approx(500, abs=60)


def test_one_that_is_named_is_taken_whatever_it_did() -> None:
    agents = [agent("a@h", load=9, success=0.0), agent("b@h")]
    for name in ("a", "a@h"):
        chosen = choose_agent(agents, "q", name, ["a@h"])
        assert chosen is not None and chosen.name == "a@h"
    assert choose_agent(agents, "q", "c", []) is None


@pytest.mark.parametrize(
    ("text", "version", "holds"),
    [
        (">=2,<3", "2.0.0", True),
        (">=2,<3", "3.0.0", False),
        (">=2,<3", "2.9.9+build.7", True),
        (">=2,<3", "3.0.0-rc.1", False),
        ("==1.4.*", "1.4.17", True),
        ("~=1.4", "1.9.0", True),
        (">=2", "2.0.0-alpha.beta", False),
        (">=2.0.0rc1", "2.0.0-rc.2", True),
    ],
)
def test_a_range_holds_versions(text: str, version: str, holds: bool) -> None:
    assert VersionRange(text).holds(version) is holds


@pytest.mark.parametrize("text", ["", "two", "2", "^1.2", ">=1 <2"])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="range of versions"):
        VersionRange(text)
