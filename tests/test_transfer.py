"""Executions go out of one journal and come back in another, to the last text."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch.asynchronous import AsyncOrchestrator
from orch.cli.app import run_command
from orch.control.lines import content_of, line_of
from orch.control.plans import Plans
from orch.control.search import Search
from orch.control.status import execution_context
from orch.control.transfer import Transfer
from orch.errors import InputError, NotAllowed, NotFound
from orch.journal import heads
from orch.journal.journal import Journal
from orch.journal.snapshots import Snapshot
from orch.orchestrator import Orchestrator
from orch.settings import Settings
from orch.workflows.state import ExecutionStatus
from tests.build import Worked, handler, start, task
from tests.escalated import Played

RECORD = {"status": "failed", "workflow": "w", "version": "1", "plan": "1", "created": "5"}
texts = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(), st.from_regex(r"-?[0-9.e]+|\[.*\]|\{.*\}|NaN"))
)


@given(texts, texts, st.lists(st.text()))
def test_every_text_comes_back_as_it_was(
    steps: dict[str, str], items: dict[str, str], history: list[str]
) -> None:
    snapshot = Snapshot("x", RECORD, steps, items, history)
    line = line_of(snapshot)
    assert "\n" not in line
    back = content_of(line.encode())
    assert isinstance(back, Snapshot) and back.record == RECORD
    assert list(back.steps) == list(steps) and list(back.items) == list(items)
    before = [*steps.values(), *items.values(), *history]
    after = [*back.steps.values(), *back.items.values(), *back.history]
    for text, found in zip(before, after, strict=True):
        assert found == text or (json.loads(found) == json.loads(text) and "\\u" in text)


def other(journal: Journal) -> Journal:
    settings = journal.settings.model_copy(update={"namespace": "other"})
    return Journal(journal.redis, settings, url=journal.url, clock=journal.clock)


def transfer(journal: Journal) -> Transfer:
    return Transfer(journal, Search(journal, Plans(journal)))


def worked_out(journal: Journal) -> Worked:
    worked = start(journal, task("a", "b"), task("b"))
    Plans(journal).store("w", worked.plan.definition, {})
    worked.do("a", {"deep": [1, 2.5, "ü\u2028", "\ud800", 2**70]})
    worked.fail("b", "Odd name")
    return worked


class TestThere:
    def test_who_was_asked_about_a_step_comes_along(self, journal: Journal, tmp_path: Path) -> None:
        rungs = [{"fallback": {"capability": "senior"}}, "human"]
        played = Played(journal, task("deploy", escalation=rungs))
        played.fail("deploy")
        played.fail("deploy/~1")
        played.rule("deploy", "skip", value=1)
        there = other(journal)
        transfer(journal).write(tmp_path / "one.jsonl", ["x1"], {})
        transfer(there).read(tmp_path / "one.jsonl")
        mine, theirs = (execution_context(j, Plans(j), "x1") for j in (journal, there))
        assert mine == theirs
        assert [step.rung for step in theirs.steps] == [None, "rung 1: fallback senior"]
        assert str(theirs.steps[0].escalation) == "skip by ada at rung 2"
        journal.redis.flushall()

    def test_and_back_again(self, journal: Journal, tmp_path: Path) -> None:
        worked_out(journal)
        path = tmp_path / "one.jsonl.gz"
        exported = transfer(journal).write(path, ["x1"], {})
        assert (exported.executions, exported.definitions) == (1, 1)
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        there = other(journal)
        imported = transfer(there).read(path)
        assert (imported.executions, imported.definitions, imported.bad) == (1, 1, [])
        mine, theirs = journal.snapshot("x1"), there.snapshot("x1")
        assert mine is not None and theirs is not None
        record = dict(theirs.record)
        assert record.pop("imported") == str(journal.clock())
        assert (mine.record, mine.steps, mine.items) == (record, theirs.steps, theirs.items)
        assert list(map(json.loads, mine.history)) == list(map(json.loads, theirs.history))
        shown = [execution_context(j, Plans(j), "x1") for j in (journal, there)]
        assert shown[0] == shown[1] and [s.status for s in shown[0].steps] == [
            "completed",
            "failed",
        ]
        found = Search(there, Plans(there)).page(
            5, None, {"error": "Odd name", "capability": "work"}
        )
        assert [info.id for info in found] == ["x1"]
        assert not there.latest_version("w")
        index = there.redis.zrange(there.keys.index(there.keys.partition("x1")), 0, -1)
        assert set(index) == set(heads.members_of("x1", theirs.record))
        again = transfer(there).read(path)
        assert (again.executions, again.existed, again.definitions) == (0, 1, 0)
        for key in there.redis.scan_iter(match="other:*:[xsih]:*"):
            assert 0 < there.redis.pttl(key) <= there.keep
        there.redis.delete(*there.redis.scan_iter(match="other:*"))

    def test_handlers_come_along(self, redis: Redis, settings: Settings) -> None:
        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow("rescue", {"name": "rescue", "steps": [task("r")]})
            orchestrator.define_workflow(
                "w",
                {"name": "w", "steps": [task("a")], "errorHandlers": [handler("rescue")]},
            )
            id = orchestrator.start_workflow("w").id
            orchestrator.stop_workflow(id)
            file = io.BytesIO()
            assert orchestrator.export_executions(file, [id]).definitions == 2
        file.seek(0)
        with Orchestrator(settings.model_copy(update={"namespace": "there"})) as there:
            assert there.import_executions(file).definitions == 2
            plan = there.runtime.plans.get(there.runtime.journal.plan_of(id) or "")
            assert [node.capability for node in plan.nodes()] == ["work", "work"]
        redis.delete(*redis.scan_iter(match="there:*"))

    def test_one_that_lives_is_left_out_unless_it_is_asked_for(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        worked = start(journal, task("a"))
        Plans(journal).store("w", worked.plan.definition, {})
        path = tmp_path / "live.jsonl"
        with pytest.raises(NotAllowed, match="execution x1 is running"):
            transfer(journal).write(path, ["x1"], {})
        assert transfer(journal).write(path, None, {}).live == 1
        assert transfer(journal).write(path, ["x1"], {}, live=True).executions == 1
        imported = transfer(other(journal)).read(path)
        assert (imported.executions, imported.live) == (0, 1)
        with pytest.raises(NotFound):
            transfer(journal).write(path, ["never"], {})
        journal.redis.delete(*journal.redis.scan_iter(match="other:*"))

    def test_what_cannot_be_written_or_read_is_said(self, journal: Journal, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be written: No such file"):
            transfer(journal).write(tmp_path / "no" / "file", None, {})
        with pytest.raises(InputError, match="cannot be read: No such file"):
            transfer(journal).read(tmp_path / "nothing")

    def test_an_export_that_fails_leaves_the_file_before_it(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        worked_out(journal)
        path = tmp_path / "kept.jsonl"
        transfer(journal).write(path, ["x1"], {})
        before = path.read_bytes()
        (tmp_path / "kept.jsonl.part").mkdir()
        with pytest.raises(InputError, match="Is a directory"):
            transfer(journal).write(path, ["x1"], {})
        assert path.read_bytes() == before


BAD = [
    (b"{", "it is no JSON"),
    (b"\xff\xfe", "it is no JSON"),
    (b"[]", "it is no object"),
    (b"{}", "it has no field 'execution'"),
    (b'{"execution":"y","record":{}}', "its record has no 'status'"),
    (b'{"execution":"y z","record":{}}', "is no id of an execution"),
    (b'{"execution":"y","record":[]}', "not of the form that `orch export` writes"),
    (b'{"definition":"abc","content":{}}', "its definition is none"),
    (b'{"plan":"abc","content":{"version":5,"handlers":{}}}', "its plan names no version"),
    (b'{"plan":"abc","content":{"handlers":{}}}', "it has no field 'version'"),
]


class TestDamage:
    def test_a_line_that_is_wrong_costs_nothing_but_itself(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        worked_out(journal)
        file = io.BytesIO()
        transfer(journal).write(file, ["x1"], {})
        good = file.getvalue().splitlines()
        path = tmp_path / "some.jsonl"
        path.write_bytes(b"\n".join([*(line for line, _ in BAD), b"", *good]))
        there = other(journal)
        imported = transfer(there).read(path)
        assert imported.executions == 1
        assert [number for number, _ in imported.bad] == list(range(1, len(BAD) + 1))
        for (_, message), (_, sentence) in zip(imported.bad, BAD, strict=True):
            assert sentence in message
        there.redis.delete(*there.redis.scan_iter(match="other:*"))

    def test_a_definition_that_was_changed_is_refused(self, journal: Journal) -> None:
        worked_out(journal)
        file = io.BytesIO()
        transfer(journal).write(file, ["x1"], {})
        changed = io.BytesIO(
            file.getvalue().replace(b'"capability":"work"', b'"capability":"evil"')
        )
        there = other(journal)
        imported = transfer(there).read(changed)
        assert [number for number, _ in imported.bad] == [1]
        assert "its definition is" in imported.bad[0][1]
        there.redis.delete(*there.redis.scan_iter(match="other:*"))

    def test_of_a_compressed_file_that_is_cut_the_beginning_is_read(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        worked_out(journal)
        file = io.BytesIO()
        transfer(journal).write(file, ["x1"], {})
        path = tmp_path / "cut.gz"
        cut = gzip.compress(b'{"n":1}\n' * 50_000)[:-20]
        path.write_bytes(gzip.compress(file.getvalue()) + cut)
        there = other(journal)
        imported = transfer(there).read(path)
        assert imported.executions == 1
        assert "ends or is damaged here" in imported.bad[-1][1]
        there.redis.delete(*there.redis.scan_iter(match="other:*"))


class TestAsking:
    def test_from_the_command_line(
        self, redis: Redis, settings: Settings, tmp_path: Path, capsysbinary: Any
    ) -> None:
        where = ["--redis", settings.redis_url or ""]

        def orch(*words: str, code: int = 0) -> Any:
            assert run_command([*words, *where]) == code
            return capsysbinary.readouterr()

        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
            ids = [orchestrator.start_workflow("w").id for _ in range(3)]
            for id in ids[:2]:
                orchestrator.stop_workflow(id)
        file = str(tmp_path / "all.jsonl")
        told = json.loads(orch("export", "--workflow", "w", "-o", file, "--json").out)
        assert told == {"file": file, "executions": 2, "definitions": 1, "live": 1, "gone": 0}
        shown = orch("export", ids[0][:10])
        assert json.loads(shown.out.splitlines()[-1])["execution"] == ids[0]
        assert b"1 execution exported" in shown.err
        for wrong in ([ids[0], "--tag", "x"], ["--json"]):
            assert b"hint: " in orch("export", *wrong, code=2).err
        told = json.loads(orch("import", file, "--json").out)
        assert (told["executions"], told["existed"], told["bad"]) == (0, 2, [])
        Path(file).write_text("{}\n")
        bad = orch("import", file, code=1)
        assert b"line 1 was left out: it has no field 'execution'" in bad.err
        with Orchestrator(settings) as orchestrator:
            orchestrator.stop_workflow(ids[2])

    def test_from_async_python(self, redis: Redis, settings: Settings, tmp_path: Path) -> None:
        import asyncio

        async def ask() -> None:
            orchestrator = AsyncOrchestrator(settings)
            steps = [task("a", condition="false")]
            await orchestrator.define_workflow("w", {"name": "w", "steps": steps})
            await orchestrator.start_workflow("w")
            exported = await orchestrator.export_executions(tmp_path / "f", status="completed")
            imported = await orchestrator.import_executions(tmp_path / "f")
            archived = await orchestrator.archive_executions(tmp_path, all=True)
            assert (exported.executions, imported.existed, archived.executions) == (1, 1, 1)
            await orchestrator.close()

        asyncio.run(ask())
        assert ExecutionStatus.COMPLETED.ended
