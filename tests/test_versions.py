"""Versions: which there are, what a word for one means, and which one an execution gets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.versions import find_version
from orch.errors import InputError, NotFound
from orch.journal import versions as listed
from orch.journal.journal import Journal
from orch.journal.versions import Defined
from orch.settings import Settings
from tests.build import task


def flow(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "flow", "steps": list(steps), **more}


ONE, TWO = flow(task("a"), version="1.0"), flow(task("b"), version="2.0")


def test_the_list_says_what_was_defined_when_and_by_whom(orchestrator: Orchestrator) -> None:
    first = orchestrator.define_workflow("w", ONE, by="ada").version
    second = orchestrator.define_workflow("w", TWO, by="bob").version
    found = {each.version: each for each in orchestrator.list_versions("w")}
    assert set(found) == {first, second}
    assert (found[first].by, found[first].label, found[first].latest) == ("ada", "1.0", False)
    assert (found[second].by, found[second].label, found[second].latest) == ("bob", "2.0", True)
    assert (found[first].defined or "") <= (found[second].defined or "") < "9999"


def test_a_version_that_is_defined_again_is_the_latest_and_keeps_its_date(
    orchestrator: Orchestrator,
) -> None:
    first = orchestrator.define_workflow("w", ONE, by="ada").version
    before = orchestrator.list_versions("w")[0].defined
    orchestrator.define_workflow("w", TWO)
    orchestrator.define_workflow("w", ONE, by="bob")
    found = {each.version: each for each in orchestrator.list_versions("w")}
    assert (found[first].by, found[first].defined, found[first].latest) == ("ada", before, True)
    assert orchestrator.start_workflow("w").status().version == first


def test_a_start_does_not_undo_what_another_process_defines_meanwhile(
    orchestrator: Orchestrator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.define_workflow("w", ONE)
    with Orchestrator(settings) as starting:
        read = starting.manager.plans.definition

        def overtaken(version: str) -> Any:
            orchestrator.define_workflow("w", TWO)
            return read(version)

        monkeypatch.setattr(starting.manager.plans, "definition", overtaken)
        starting.start_workflow("w")
    assert [each.label for each in orchestrator.list_versions("w") if each.latest] == ["2.0"]


def test_an_execution_starts_on_the_version_that_is_named(orchestrator: Orchestrator) -> None:
    first = orchestrator.define_workflow("w", ONE).version
    second = orchestrator.define_workflow("w", TWO).version
    for asked in (first, first[:9], "1.0"):
        assert orchestrator.start_workflow("w", version=asked).status().version == first
    assert orchestrator.start_workflow("w").status().version == second
    assert orchestrator.start_workflow("w", version="2.0").status().version == second


def test_a_step_may_call_a_version_by_its_label(orchestrator: Orchestrator) -> None:
    first = orchestrator.define_workflow("child", ONE).version
    orchestrator.define_workflow("child", TWO)
    called = {"name": "child", "version": "1.0"}
    orchestrator.define_workflow(
        "w", flow({"id": "call", "type": "subworkflow", "subworkflow": called})
    )
    execution = orchestrator.start_workflow("w")
    child = execution.status().steps[0].child
    assert child is not None
    assert orchestrator.get_execution_status(child).version == first


def test_what_means_none_or_several_is_refused_with_those_there_are(
    orchestrator: Orchestrator, journal: Journal
) -> None:
    first = orchestrator.define_workflow("w", ONE).version
    same = orchestrator.define_workflow("w", flow(task("c"), version="1.0")).version
    with pytest.raises(NotFound, match=rf"no version 'zzz'; the latest are: .*{first} \(1.0\)"):
        orchestrator.start_workflow("w", version="zzz")
    with pytest.raises(InputError, match=r"'1\.0' is 2 versions of workflow 'w'"):
        orchestrator.start_workflow("w", version="1.0")
    assert find_version(journal, "w", same) == same
    with pytest.raises(NotFound):
        orchestrator.start_workflow("w", version="")
    with pytest.raises(NotFound, match="no workflow 'nothing'"):
        orchestrator.list_versions("nothing")


def test_what_was_made_for_one_execution_is_found_by_its_hash_alone(
    orchestrator: Orchestrator, journal: Journal
) -> None:
    first = orchestrator.define_workflow("w", ONE).version
    journal.add_version("w", "feedfeedfeed", Defined(9, "ada", "1.0", "x1"))
    assert find_version(journal, "w", "1.0") == first
    assert find_version(journal, "w", "feedf") == "feedfeedfeed"
    assert [v.execution for v in orchestrator.list_versions("w")] == [None, "x1"]


def test_the_list_is_bounded_and_the_latest_stays(
    orchestrator: Orchestrator, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "MOST_VERSIONS", 3)
    first = orchestrator.define_workflow("w", ONE).version
    for number in range(4):
        journal.add_version("w", f"{number:012}", Defined(number, "ada", "", "x" * (number == 3)))
    assert sorted(journal.versions("w")) == sorted(["000000000001", "000000000002", first])
    second = orchestrator.define_workflow("w", TWO).version
    assert sorted(journal.versions("w")) == sorted(["000000000002", first, second])
    # What is no longer listed is still there.
    journal.redis.hdel(journal.keys.versions("w"), first)
    assert orchestrator.start_workflow("w", version=first).status().version == first


def test_the_command_line_and_coroutines_move_and_change_what_runs(
    orchestrator: Orchestrator, settings: Settings, tmp_path: Path, capsys: Any
) -> None:
    def orch(*arguments: str, code: int = 0) -> Any:
        where = ["--redis", str(settings.redis_url), "--json"]
        assert run_command([*arguments, *where]) == code
        return json.loads(capsys.readouterr().out)

    first = orchestrator.define_workflow("w", ONE).version
    id = orchestrator.start_workflow("w").id
    second = orchestrator.define_workflow("w", TWO).version
    assert [v["version"] for v in orch("versions", "w")] == [second, first]
    found = orch("migrate", id, code=1)["error"]
    assert "a: is dispatched, and the other version has no such step" in found["message"]
    assert orch("migrate", id, "--map", "a", code=2)["error"]["name"] == "InputError"
    assert orch("migrate", id, "--map", "a=b", "--dry-run")["done"] is False
    assert orch("migrate", "--workflow", "w", "--map", "a=b", "--dry-run")["migratable"] == [id]
    found = orch("migrate", "--workflow", "w", "--map", "a=b", "--yes", "--by", "ada")
    assert (found["migrated"], found["refused"]) == ([id], [])
    assert orchestrator.get_execution_status(id).version == second
    for version, ids in ((first, []), (second, [id])):
        found = orchestrator.list_executions(workflow="w", version=version)
        assert [info.id for info in found] == ids
    assert orch("migrate", id, "--to", "2.0")["done"] is False

    patch = tmp_path / "patch.yaml"
    patch.write_text("changes:\n- {insert: {id: x, capability: work}, after: b}\n")
    assert orch("modify", id, "--patch", str(patch), "--dry-run")["done"] is False
    found = orch("modify", id, "--patch", str(patch), "--reason", "more")
    assert found["done"] and orchestrator.get_execution_status(id).version == found["after"]
    assert orch("modify", id, "--patch", str(patch), code=2)["error"]["findings"]
    patch.write_text("a: 1\n")
    assert (
        "no list of changes"
        in orch("modify", id, "--patch", str(patch), code=2)["error"]["message"]
    )
    assert run_command(["versions", "w", "--redis", str(settings.redis_url)]) == 0
    assert f"ad hoc, for {id}" in " ".join(capsys.readouterr().out.split())

    async def asked() -> None:
        async with AsyncOrchestrator(settings) as made:
            assert len(await made.list_versions("w")) == 3
            execution = await made.start_workflow("w", version=first)
            assert (await execution.migrate(mapping={"a": "b"})).after == second
            change = {"insert": task("y"), "after": "b"}
            assert (await execution.modify([change])).done
            assert not (await made.migrate_workflow(id, found["after"])).done
            assert (await made.modify_workflow(id, [change], dry_run=True)).done

    asyncio.run(asked())
