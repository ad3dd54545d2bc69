"""A step gets a secret by its name, and nobody reads it anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import redaction
from orch.agents.context import Context
from orch.agents.secret import read_secret
from orch.control.logs import read_logs
from orch.control.runtime import Runtime
from orch.errors import StepError
from orch.settings import Settings
from tests.build import task
from tests.played import Played


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_noted", {})


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str, tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(settings.model_copy(update={"secrets_dir": tmp_path}), redis_url)
    yield runtime
    runtime.close()


def played(runtime: Runtime, act: Any) -> Played:
    worker = Played(runtime, task("a"))
    worker.call = lambda node, seen, context: act(context)  # type: ignore[method-assign]
    worker.run()
    return worker


def test_a_file_prevails_over_a_variable(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_SECRET_CRM_API_KEY", "of the environment")
    assert read_secret(settings, "crm.api-key").get_secret_value() == "of the environment"
    with_files = settings.model_copy(update={"secrets_dir": tmp_path})
    assert read_secret(with_files, "crm.api-key").get_secret_value() == "of the environment"
    (tmp_path / "crm.api-key").write_text("of the file\n")
    found = read_secret(with_files, "crm.api-key")
    assert found.get_secret_value() == "of the file"
    assert "file" not in f"{found!r} {found}"


@pytest.mark.parametrize("name", ["../passwd", "a/b", "", ".hidden", "a b"])
def test_a_name_leads_nowhere_else(settings: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "passwd").write_text("x")
    inside = settings.model_copy(update={"secrets_dir": tmp_path / "inside"})
    with pytest.raises(StepError, match="cannot be the name of a secret") as caught:
        read_secret(inside, name)
    assert caught.value.name == "SecretNotFound"


def test_one_that_is_not_there_says_where_it_was_sought(settings: Settings, tmp_path: Path) -> None:
    inside = settings.model_copy(update={"secrets_dir": tmp_path})
    with pytest.raises(StepError, match=r"has no file of this name, and the variable ORCH_SECRET_"):
        read_secret(inside, "other")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(StepError, match="it is no text"):
        read_secret(inside, "binary")
    with pytest.raises(StepError, match="this context has none"):
        Context().secret("other")


def test_lines_progress_failure_and_output_do_not_tell_it(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text('say "xyzzy"')

    def act(context: Context) -> dict[str, Any]:
        value = context.secret("pin").get_secret_value()
        context.log.info("got %s", value)
        context.progress({"said": value})
        return {"said": [f"it is {value}"], "token": "stays"}

    worker = played(runtime, act)
    assert worker.output() == {"said": ["it is ***"], "token": "stays"}
    assert [line.text for line in read_logs(runtime.journal, "x1")] == ["got ***"]
    for kind in ("x", "s", "h", "l"):
        for key in runtime.journal.redis.scan_iter(match=f"*:{kind}:x1"):
            assert b"xyzzy" not in runtime.journal.redis.dump(key)


def test_nor_does_a_failure(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("xyzzy-1")

    def act(context: Context) -> None:
        value = context.secret("pin").get_secret_value()
        raise StepError("Refused", f"{value} is wrong", data={"tried": value})

    error = played(runtime, act).journal.record("x1").error or {}
    assert (error["message"], error["data"]) == ("*** is wrong", {"tried": "***"})


def test_the_memory_of_its_project_is_at_hand(runtime: Runtime) -> None:
    def act(context: Context) -> list[str]:
        context.memory.store("ORCH:AGENT: rows are in cents", tags=["rows"])
        context.remember("ORCH:AGENT: something else")
        return [record.content for record in context.memory.search(text="cents", limit=5)]

    worker = played(runtime, act)
    assert worker.output() == ["ORCH:AGENT: rows are in cents"]
    assert Context().memory.search(text="cents") == []
    Context().memory.store("ORCH:AGENT: nothing")
