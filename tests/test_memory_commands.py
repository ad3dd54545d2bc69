"""`orch memory`: what changes records, tells of them, and carries them elsewhere."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.errors import InputError
from orch.settings import Settings

Run = Callable[..., str]


@pytest.fixture
def run(orchestrator: Orchestrator, capfd: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: str, code: int = 0, said: str = "") -> str:
        url = str(orchestrator.settings.redis_url)
        assert run_command(["memory", *arguments, "--redis", url]) == code
        out, err = capfd.readouterr()
        assert said in err
        return out

    return ran


def test_records_are_rated_shared_and_walked(orchestrator: Orchestrator, run: Run) -> None:
    store = orchestrator.store_memory
    first = store("A", None, "ORCH:AGENT: knows it", private=True)
    second = store("B", None, "ORCH:AGENT: heard of it", related=[first.id, "gone"])
    run("show", first.id, code=2, said="has no record")
    assert "private: yes" in run("show", first.id, "--as", "A")
    assert run("search", "knows", "--json") == "[]\n"
    assert run("share", first.id, "--with", "B", "--all") == f"{first.id}\n"
    assert "shared with: B" in run("show", first.id, "--as", "B")
    run("rate", first.id, "0.25", "--by", "ada", "--as", "A", said="confidence of 0.25")
    told = json.loads(run("show", first.id, "--all", "--json"))
    assert (told["confidence"], told["ratings"][0]["by"], told["reads"]) == (0.25, "ada", 3)
    assert run("search", "--as", "A", "--min-confidence", "0.5").count("ORCH:") == 1
    shown = run("show", second.id, "--related", "--as", "B")
    assert "(not there)" in shown
    assert "knows it" in shown
    around = json.loads(run("show", first.id, "--related", "--depth", "2", "--all", "--json"))
    assert [each["id"] for each in around["around"]] == [second.id, "gone"]
    copy = json.loads(run("share", second.id, "--to-project", "bank", "--json"))
    assert copy["origin"] == {"project_id": "default", "id": second.id}
    run("share", second.id, code=2, said="name one of them")
    run("rate", second.id, "7", code=2, said="from 0 to 1")
    run("rate", "nobody", "0.5", code=2, said="has no record")


def test_records_are_forgotten_after_a_question(
    orchestrator: Orchestrator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [orchestrator.store_memory("A", None, f"ORCH:AGENT: n {n}").id for n in range(4)]
    run("forget", code=2, said="by their ids, or by filters")
    run("forget", ids[0], "--prefix", "ORCH:", code=2)
    run("forget", "--prefix", "ORCH:WEATHER:", "--yes", code=2, said="no area 'WEATHER'")
    for answer, code, left in (("", 2, 4), ("n\n", 0, 4), ("y\n", 0, 3)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        run("forget", ids[0], code=code, said="forget 1 record? [y/N]:")
        assert len(orchestrator.search_memory()) == left
    run("forget", "--text", "3", "--yes", said="1 record forgotten")
    assert json.loads(run("forget", "--agent", "A", "--yes", "--json")) == {"forgotten": 2}
    assert run("forget", "--agent", "A") == ""
    orchestrator.store_memory("A", None, "ORCH:AGENT: last")
    with pytest.raises(InputError, match="by their ids, or by filters"):
        orchestrator.forget_memories()
    assert orchestrator.forget_memories(agent="A", viewer="A") == 1


def test_records_are_merged_exported_and_imported(
    orchestrator: Orchestrator, run: Run, tmp_path: Path
) -> None:
    for number in range(3):
        orchestrator.store_memory("A", None, "ORCH:AGENT: again", source=f"x{number}")
    orchestrator.store_memory("A", None, "ORCH:AGENT: mine", private=True)
    run("compact", said="0 records of 0 merged into 0")
    run("compact", "--older", "soon", code=2, said="--older 'soon' is no point in time")
    younger = ("--older", "0s")
    run("compact", *younger, "--dry-run", said="2 records of 4 would be merged into 1")
    done = json.loads(run("compact", *younger, "--similar", "--json"))
    assert (done["merged"], done["largest"][0]["records"]) == (2, 3)
    (record,) = orchestrator.search_memory()
    assert "stands for: 3 records since" in run("show", record.id)
    file = str(tmp_path / "out.jsonl")
    run("export", "-o", file, said="1 record exported")
    run("export", "--all", "-o", file, said="2 records exported")
    run("import", file, said="0 records imported; 2 were there, 0 have expired")
    told = run("import", file, "--project", "bank", "--json")
    assert json.loads(told) == {"imported": 2, "known": 0, "expired": 0}
    assert orchestrator.search_memory(project="bank")[0].sources == record.sources
    run("import", str(tmp_path / "none"), code=2, said="cannot be read")


def test_an_analysis_is_printed_for_people_and_as_json(
    orchestrator: Orchestrator, run: Run
) -> None:
    assert "0 records read" in run("analyze")
    for number in range(6):
        orchestrator.store_memory(
            "A", None, f"ORCH:AGENT: order {number}", tags=["a", "class:unknown"], related=["gone"]
        )
    orchestrator.store_memory("A", None, "ORCH:REPORT: done")
    orchestrator.get_memory(orchestrator.search_memory(limit=1)[0].id)
    told = run("analyze", "--since", "1d")
    for words in (
        "7 records read",
        "usage: 1 reads of 1 of 7 records",
        "of none that is there: 6",
        "say what a newer one says: 5",
        "trends: 7 records, before 0",
        "tags a and class:unknown: 6 records, 1.2 times as often as by chance",
        "error class unknown: 6 records",
    ):
        assert words in told, told
    assert "the newest; there are more than 2" in run("analyze", "--limit", "2")
    found = json.loads(run("analyze", "--json"))
    assert found["usage"]["records"] == found["trends"]["records"] == 7
    run("analyze", "--since", "yesterday", code=2, said="no point in time")


def test_the_facade_for_coroutines_does_all_of_it(redis: Redis, settings: Settings) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as made:
            first = await made.store_memory("A", None, "ORCH:AGENT: is here", private=True)
            second = await made.store_memory("A", None, "ORCH:AGENT: too", related=[first.id])
            assert (await made.get_memory(first.id, viewer="A")).private
            (around,) = await made.related_memories(second.id, viewer="A")
            assert around.id == first.id
            assert (await made.share_memory(first.id, ["B"], viewer="A")).shared_with == ["B"]
            assert (await made.rate_memory(first.id, 0, viewer="B", by="b")).confidence == 0
            assert (await made.memory_use([first.id]))[0].reads == 1
            assert (await made.compact_memory()).merged == 0
            assert (await made.analyze_memory(all_private=True)).records == 2
            file: Any = io.BytesIO()
            await made.export_memory(file, all_private=True)
            assert await made.forget_memories([second.id]) == 1
            file.seek(0)
            assert (await made.import_memory(file)).imported == 1

    asyncio.run(use())
