"""The inbox as people use it: from Python and the command line, with real workers behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.cli.app import run_command
from orch.errors import AlreadyDecided, InputError, NotAllowed, NotFound, OrchError
from orch.escalation.inbox import InboxItem
from orch.settings import Settings
from tests.build import FakeClock

Both = Callable[[Callable[[str], Any]], list[OrchError | None]]
"""Has ada and bob do something; how each was refused."""

CODE = """
from orch import capability

@capability("flaky")
def flaky(host="a"):
    if host != "b":
        raise ConnectionError(f"no way to {host}")
    return {"host": host}
"""

WORKFLOW: dict[str, Any] = {
    "name": "release",
    "steps": [
        {
            "id": "deploy",
            "capability": "flaky",
            "escalation": [
                {"retry": {"maxAttempts": 1}},
                {"human": {"queue": "reviewers", "within": "2h"}},
            ],
            "next": "ask",
        },
        {
            "id": "ask",
            "capability": "human_approval",
            "input": {"prompt": "Release it?", "choices": ["yes", "no"], "queue": "leads"},
        },
    ],
}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("release", WORKFLOW)
        yield made


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "flaky_code.py"
    path.write_text(CODE)
    return str(path)


def only(orchestrator: Orchestrator, queue: str) -> InboxItem | None:
    return next(iter(orchestrator.list_escalations(queue)), None)


def test_a_failure_finds_somebody_who_mends_it_and_an_approval_its_answer(
    orchestrator: Orchestrator, code: str, wait_until: Callable[..., Any]
) -> None:
    with orchestrator.workers(include=[code], concurrency=1, pool="threads"):
        execution = orchestrator.start_workflow("release")
        item = wait_until(lambda: only(orchestrator, "reviewers"))
        assert item.error["name"] == "ConnectionError"
        assert (item.rung, item.rungs, item.kind) == (2, 2, "human")
        orchestrator.decide_escalation(item.id, "retry", {"host": "c"}, by="ada")
        again = wait_until(
            lambda: (
                (found := only(orchestrator, "reviewers"))
                and "no way to c" in found.error["message"]
                and found
            )
        )
        orchestrator.decide_escalation(again.id, "retry", {"host": "b"}, by="ada")
        asked = wait_until(lambda: only(orchestrator, "leads"))
        assert (asked.prompt, asked.choices, asked.kind) == (
            "Release it?",
            ["yes", "no"],
            "approval",
        )
        orchestrator.decide_escalation(asked.id, "answer", "yes", by="bob", note="go")
        done = execution.wait(timeout=20)
        assert done.output == {"choice": "yes", "form": None, "by": "bob", "comment": "go"}
        wait_until(lambda: orchestrator.escalation_statistics().resolved == 2)
        found = orchestrator.escalation_statistics()
        assert found.by_decision == {"retry": 1, "answer": 1}
        assert found.mean_to_resolve is not None and found.mean_to_acknowledge is not None


def test_of_many_who_decide_at_once_one_does_and_the_others_hear_who(
    orchestrator: Orchestrator,
) -> None:
    definition = {"name": "w", "steps": [{"id": "ask", "capability": "human_approval"}]}
    orchestrator.define_workflow("w", definition)
    execution = orchestrator.start_workflow("w")

    def decide(name: str) -> str:
        try:
            orchestrator.decide_escalation(f"{execution.id}:ask", "answer", name, by=name)
        except AlreadyDecided as refused:
            return refused.by
        return "first"

    names = [f"p{n}" for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(decide, names))
    assert said.count("first") == 1
    winner = names[said.index("first")]
    assert set(said) == {"first", winner}
    assert execution.wait(timeout=5).output["by"] == winner


class TestInTheSameMillisecond:
    """Two people have seen the same of an escalation; then both do something about it."""

    @pytest.fixture
    def asked(self, orchestrator: Orchestrator) -> str:
        step = {"id": "ask", "capability": "human_approval"}
        orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
        return f"{orchestrator.start_workflow('w').id}:ask"

    @pytest.fixture
    def both(self, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> Both:
        journal = orchestrator.runtime.journal
        seen, calls, settle = Barrier(2), count(1), journal.settle

        def settle_when_both_have_seen(*args: Any, **given: Any) -> Any:
            if next(calls) <= 2:
                seen.wait(timeout=30)
            return settle(*args, **given)

        def both_do(do: Callable[[str], Any]) -> list[OrchError | None]:
            def refusal(name: str) -> OrchError | None:
                try:
                    do(name)
                except OrchError as refused:
                    return refused
                return None

            monkeypatch.setattr(journal, "clock", FakeClock(journal.clock()))
            monkeypatch.setattr(journal, "settle", settle_when_both_have_seen)
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(refusal, ("ada", "bob")))

        return both_do

    @pytest.mark.parametrize("decision", ["answer", "skip", "abort"])
    def test_one_decides_and_the_other_hears_who(
        self, orchestrator: Orchestrator, asked: str, both: Both, decision: str
    ) -> None:
        def decide(name: str) -> None:
            given = () if decision == "abort" else ({"said": name},)
            orchestrator.decide_escalation(asked, decision, *given, by=name)

        told = both(decide)
        (refused,) = [each for each in told if each is not None]
        assert isinstance(refused, AlreadyDecided)
        decided = ("ada", "bob")[told.index(None)]
        assert refused.by == decided == orchestrator.get_escalation(asked).decided_by

    def test_both_comments_are_kept(
        self, orchestrator: Orchestrator, asked: str, both: Both
    ) -> None:
        assert both(
            lambda name: orchestrator.comment_escalation(asked, f"{name} was here", by=name)
        ) == [None, None]
        said = sorted(each["text"] for each in orchestrator.get_escalation(asked).comments)
        assert said == ["ada was here", "bob was here"]

    def test_one_claims_it_and_the_other_hears_who(
        self, orchestrator: Orchestrator, asked: str, both: Both
    ) -> None:
        told = both(lambda name: orchestrator.claim_escalation(asked, by=name))
        (refused,) = [each for each in told if each is not None]
        holder = orchestrator.get_escalation(asked).claimed_by
        assert f"claimed by {holder} " in str(refused)
        assert holder == ("ada", "bob")[told.index(None)]

    def test_what_the_same_person_says_again_is_no_other_decision(
        self, orchestrator: Orchestrator, asked: str, both: Both
    ) -> None:
        told = both(lambda _: orchestrator.decide_escalation(asked, "answer", {"a": 1}, by="ada"))
        assert told == [None, None]


def test_what_is_wrong_is_refused_with_the_reason(orchestrator: Orchestrator) -> None:
    definition = {"name": "w", "steps": [{"id": "ask", "capability": "human_approval"}]}
    orchestrator.define_workflow("w", definition)
    id = f"{orchestrator.start_workflow('w').id}:ask"
    for wrong, error in (
        (lambda: orchestrator.decide_escalation(id, "shrug"), InputError),
        (lambda: orchestrator.decide_escalation(id, "reroute"), InputError),
        (lambda: orchestrator.decide_escalation(id, "reroute", to="nowhere"), InputError),
        (lambda: orchestrator.decide_escalation(id, "abort", 1), InputError),
        (lambda: orchestrator.decide_escalation(id, "retry"), NotAllowed),
        (lambda: orchestrator.decide_escalation("x", "skip"), InputError),
        (lambda: orchestrator.decide_escalation("x:y", "skip"), NotFound),
        (lambda: orchestrator.get_escalation(id + "y"), NotFound),
        (lambda: orchestrator.claim_escalation(id, seconds=0), InputError),
        (lambda: orchestrator.release_escalation(id), NotAllowed),
        (lambda: orchestrator.comment_escalation(id, " "), InputError),
    ):
        with pytest.raises(error):
            wrong()
    item = orchestrator.get_escalation(id)
    assert (item.decision, item.comments, item.resolved) == (None, [], None)


def test_the_command_line_does_the_same(
    orchestrator: Orchestrator, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    definition = {
        "name": "w",
        "steps": [
            {"id": "ask", "capability": "human_approval", "input": {"choices": ["yes", "no"]}}
        ],
    }
    orchestrator.define_workflow("w", definition)
    execution = orchestrator.start_workflow("w")
    id = f"{execution.id}:ask"

    def orch(*arguments: str) -> tuple[int, str]:
        code = run_command([*arguments, "--redis", redis_url])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert id in orch("inbox")[1]
    assert json.loads(orch("inbox", "list", "--json")[1])[0]["id"] == id
    assert orch("inbox", "claim", id, "--by", "ada", "--for", "30m")[0] == 0
    assert id in orch("inbox", "list", "--mine", "--by", "ada")[1]
    code, said = orch("inbox", "decide", id, "answer", "--choice", "yes", "--by", "bob")
    assert code == 1 and "claimed by ada" in said
    assert orch("inbox", "comment", id, "hm", "--by", "bob")[0] == 0
    assert orch("inbox", "delegate", id, "leads", "--by", "ada")[0] == 0
    code, said = orch("inbox", "decide", id, "answer", "--choice", "maybe")
    assert code == 2 and "none of the choices" in said
    assert orch("inbox", "decide", id, "answer", "--choice", "no", "--by", "bob")[0] == 0
    code, said = orch("inbox", "decide", id, "answer", "--choice", "yes")
    assert code == 1 and "answer by bob" in said
    assert "comment:" in orch("inbox", "show", id)[1]
    assert "nothing waits" in orch("inbox")[1]
    assert "open: 0" in orch("escalations", "stats")[1]
    assert execution.wait(timeout=5).output["choice"] == "no"
