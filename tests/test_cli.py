"""The command line as its users have it: real processes, a real server, real workers."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import typer.main

from orch.cli import inputs as cli_inputs
from orch.cli import options
from orch.cli.app import app
from orch.errors import InputError
from orch.settings import Settings
from orch.workflows.state import ExecutionStatus
from tests import commands

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "redis://user:secret@127.0.0.1:1/0"
RESULT_KEYS = {
    "id",
    "workflow",
    "version",
    "status",
    "input",
    "output",
    "variables",
    "error",
    "degraded",
    "holes",
    "steps",
}
STEP_KEYS = {"path", "step", "capability", "status", "attempts", "started", "ended", "worker"}

CAPABILITIES = """
import time
from orch import capability

@capability("double")
def double(x: int): return {"result": x * 2}

@capability("boom")
def boom(): raise ValueError("it breaks")

@capability("nap")
def nap(seconds: float): time.sleep(seconds)
"""
WORKFLOWS = {
    "fine.yaml": """
name: Fine
timeoutMs: 60000
input: {type: object, properties: {x: {type: integer}}, required: [x]}
result: {x: $.variables.x}
steps:
  - {id: first, capability: double, input: {x: $.input.x}, output: {x: $.output.result}, next: both}
  - id: both
    type: parallel
    parallel:
      branches:
        - steps:
            - {id: left, capability: double, input: {x: 1}, next: left2}
            - {id: left2, capability: nap, input: {seconds: 0}}
        - steps: [{id: right, capability: double, input: {x: 2}}]
    next: choose
  - id: choose
    type: decision
    decision: {expression: $.variables.x > 3, branches: {true: pause, false: last}}
  - {id: pause, type: wait, wait: {duration: 50}, next: last}
  - {id: last, capability: double, input: {x: 5}}
""",
    "fails.yaml": """
name: Fails
timeoutMs: 60000
steps:
  - {id: ok, capability: double, input: {x: 1}, next: bad}
  - {id: bad, capability: boom, retry: {maxAttempts: 2, interval: 20}}
""",
    "long.yaml": """
name: Long
timeoutMs: 600000
steps: [{id: sleep, capability: nap, input: {seconds: 60}}]
""",
    "waits.yaml": """
name: Waits
steps: [{id: timer, type: wait, wait: {duration: P30D}}]
""",
    "moves.yaml": """
name: Moves
steps: [{id: timer, type: wait, wait: {duration: 700}}]
""",
    "unserved.yaml": """
name: Unserved
timeoutMs: 600000
steps: [{id: lonely, capability: nobody_serves_this}]
""",
    "wrong.yaml": """
name: Wrong
timeoutMs: 1000
steps:
  - {id: a, capability: double, next: gone}
  - {id: b, capability: double, nxt: a}
""",
    "broken.yaml": "name: x\nsteps:\n  - id: a\n   bad",
    "chatty.py": """
from orch import WorkflowDefinition
print("a line that would spoil the JSON")
workflow = WorkflowDefinition(
    name="chatty", timeout_ms=1000, steps=[{"id": "a", "capability": "double", "input": {"x": 1}}]
)
""",
}


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This environment without settings of ours, and without a terminal."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "orch", *map(str, arguments)]


def orch(*arguments: str | Path, cwd: Path, stdin: str = "", **env: str) -> Done:
    words = [*map(str, arguments)]
    return Done(*commands.run(words, cwd=cwd, environment=environment(**env), stdin=stdin))


def write_files(folder: Path) -> Path:
    (folder / "caps.py").write_text(CAPABILITIES)
    for name, text in WORKFLOWS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with definitions and capabilities; commands that need no Redis run here."""
    return write_files(tmp_path_factory.mktemp("cli"))


@dataclass
class Dev:
    """A running ``orch dev``."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    folder: Path

    def orch(self, *arguments: str | Path, **more: Any) -> Done:
        """A command of another process in the same directory."""
        return orch(*arguments, cwd=self.folder, **more)

    def pids(self) -> set[int]:
        """Workers with their children, the keeper, the server."""
        state = json.loads((self.folder / ".orch" / "server.json").read_text())
        found = {value for key, value in state.items() if "pid" in key}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            found.add(child.pid)
        return found


def start_dev(folder: Path, *arguments: str) -> Dev:
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command("dev", "--json", "--include", "caps.py", "--concurrency", "2", *arguments),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (folder / "dev.log").read_text()
    return Dev(process, json.loads(line), folder)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """``orch dev`` in a directory of its own; it ends at SIGTERM, well and in silence."""
    running = start_dev(write_files(tmp_path_factory.mktemp("dev")))
    yield running
    running.process.send_signal(signal.SIGTERM)
    out, _ = running.process.communicate(timeout=30)
    assert (running.process.returncode, out) == (0, "")


# --- without Redis ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["schema"], ["validate", "fine.yaml"]])
def test_light_commands_import_neither_celery_nor_redis(
    folder: Path, arguments: Sequence[str]
) -> None:
    code = (
        "import sys; from orch.cli.app import run_command; "
        f"code = run_command({list(arguments)!r}); "
        "print(code, sorted({'celery', 'redis', 'kombu'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "0 []"


def test_every_command_and_option_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^## `orch (\w+)`\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(sections) == set(commands)
    shared = text.partition("## `orch")[0]
    for name, found in commands.items():
        below = getattr(found, "commands", {}).values()
        assert all(f"`{each.name}`" in sections[name] and each.help for each in below), name
        for parameter in [p for each in (found, *below) for p in each.params]:
            for option in (o for o in parameter.opts + parameter.secondary_opts if "--" in o):
                assert f"`{option}" in sections[name] + shared, f"{option} of orch {name}"
        assert found.help, name


def test_the_states_offered_are_those_there_are() -> None:
    assert [s.value for s in options.Status] == [s.value for s in ExecutionStatus]


def test_validate_finds_everything_at_once(folder: Path) -> None:
    fine = orch("validate", "fine.yaml", "--json", cwd=folder, ORCH_REDIS_URL=NOWHERE)
    assert (fine.code, fine.json) == (0, {"valid": True, "findings": []})

    wrong = orch("validate", "wrong.yaml", "--json", cwd=folder)
    assert wrong.code == 2 and wrong.json["valid"] is False
    findings = wrong.json["findings"]
    assert all(set(f) == {"severity", "path", "message", "hint"} for f in findings)
    errors = {f["path"] for f in findings if f["severity"] == "error"}
    assert {"steps[0].next", "steps[1].nxt"} <= errors

    people = orch("validate", "wrong.yaml", cwd=folder)
    assert people.code == 2 and people.err == ""
    assert "wrong.yaml: error: steps[0].next: " in people.out
    assert people.out.endswith("wrong.yaml: not valid\n")


def test_validate_says_where_a_file_breaks(folder: Path) -> None:
    several = orch("validate", "broken.yaml", "fine.yaml", "missing.yaml", "--json", cwd=folder)
    assert several.code == 2
    assert [(r["file"], r["valid"]) for r in several.json] == [
        ("broken.yaml", False),
        ("fine.yaml", True),
        ("missing.yaml", False),
    ]
    assert [f["path"] for f in several.json[0]["findings"]] == ["line 4, column 4"]


def test_what_a_python_file_prints_is_kept_from_stdout(folder: Path) -> None:
    done = orch("validate", "chatty.py", "--json", cwd=folder)
    assert (done.code, done.json["valid"]) == (0, True)
    assert "a line that would spoil" in done.err


def test_graph_draws_a_file_three_ways(folder: Path) -> None:
    def graph(*more: str) -> Done:
        done = orch("graph", "fine.yaml", *more, cwd=folder, ORCH_REDIS_URL=NOWHERE)
        assert (done.code, done.err) == (0, "")
        return done

    assert graph().out.startswith("flowchart TD\n")
    assert set(graph("--format", "json").json) == {"nodes", "edges"}
    drawn = graph("--format", "canvas").out
    assert "begin → first\n" in drawn
    assert "join of both → choose\n" in drawn
    assert "└─ orch.flow.join  queue double  path both\n" in drawn
    segments = {s["path"]: s for s in graph("--format", "canvas", "--json").json}
    assert segments["both"]["canvas"]["chord"] == [
        {
            "chain": [
                {"task": "orch.double", "queue": "double", "path": "both/0/left"},
                {"task": "orch.nap", "queue": "nap", "path": "both/0/left2"},
            ]
        },
        {"task": "orch.double", "queue": "double", "path": "both/1/right"},
    ]
    assert segments["last"]["begins"] == "choose is false; timer of pause"


def test_schema_is_the_schema(folder: Path) -> None:
    done = orch("schema", cwd=folder, ORCH_REDIS_URL=NOWHERE)
    assert done.json["title"] == "Workflow" and done.err == ""


def test_a_reader_that_stops_reading_is_no_trouble(folder: Path) -> None:
    process = subprocess.Popen(
        command("schema"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait(30) == 141


def test_simulate_runs_mocks_and_refuses_what_it_does_not_know(folder: Path) -> None:
    mocks = folder / "mocks.json"

    def simulate(content: Any, *more: str) -> Done:
        mocks.write_text(json.dumps(content))
        arguments = ("--mocks", "mocks.json", "--json", "--input", "x=1", *more)
        return orch("simulate", "fine.yaml", *arguments, cwd=folder, ORCH_REDIS_URL=NOWHERE)

    good = simulate({"outputs": {"first": {"result": 7}}, "durations": {"last": 1000}})
    assert (good.code, good.err) == (0, "")
    assert (good.json["status"], good.json["output"]) == ("completed", {"x": 7})
    assert good.json["steps"][-1] == {
        "path": "last",
        "attempt": 1,
        "at_ms": 1050,
        "outcome": "completed",
    }
    failed = simulate({"fail": {"first": "always"}})
    assert (failed.code, failed.json["status"]) == (1, "failed")

    unknown = simulate({"outptus": {}})
    assert unknown.code == 2 and unknown.json["error"]["hint"] == "did you mean 'outputs'?"
    step = simulate({"fail": {"frist": 1}})
    assert step.code == 2 and "did you mean 'first'?" in step.json["error"]["message"]
    wrong = orch("simulate", "wrong.yaml", "--json", cwd=folder)
    assert wrong.code == 2 and len(wrong.json["error"]["findings"]) >= 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument"),
        (["run", "fine.yaml", "--workers", "many"], "Invalid value for '--workers'"),
        (["graph", "fine.yaml", "--format", "dot"], "'dot' is not one of"),
        (["run", "fine.yaml", "--input", "x"], "not of the form key=value"),
        (["run", "fine.yaml", "--input-file", "nowhere.json"], "cannot be read"),
        (["start", "fine.yaml", "--redis", NOWHERE, "--data-dir", "d"], "--data-dir asks for"),
    ],
)
def test_bad_usage_is_named_with_a_hint(
    folder: Path, arguments: Sequence[str], sentence: str
) -> None:
    done = orch(*arguments, "--json", cwd=folder)
    assert done.code == 2
    assert sentence in done.json["error"]["message"]
    assert set(done.json["error"]) == {"name", "message", "hint"}
    assert sentence in done.err and "\n\nhint: " in done.err


@pytest.mark.parametrize("arguments", [["list"], ["run", "fine.yaml", "--input", "x=1"], ["dev"]])
def test_a_redis_out_of_reach_is_named_without_its_password(
    folder: Path, arguments: Sequence[str]
) -> None:
    done = orch(*arguments, "--json", cwd=folder, ORCH_REDIS_URL=NOWHERE)
    assert done.code == 4
    assert "redis://user:***@127.0.0.1:1/0" in done.err and "secret" not in done.err + done.out
    assert "hint: start it, or set ORCH_REDIS_URL=" in done.err
    assert done.json["error"]["name"] == "Unreachable"


def test_settings_say_where_each_value_came_from(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_text('chain_links = 7\nnamespace = "toml"\n')
    done = orch(
        "settings",
        "--redis",
        NOWHERE,
        "--json",
        cwd=tmp_path,
        ORCH_NAMESPACE="env",
        ORCH_BROKER_URL="amqp://user:secret@host//",
    )
    assert done.code == 0 and ":secret@" not in done.out
    found = {each["name"]: (each["value"], each["source"]) for each in done.json}
    assert set(found) == set(Settings.model_fields)
    assert found["redis_url"] == ("redis://user:***@127.0.0.1:1/0", "--redis")
    assert found["broker_url"] == ("amqp://user:***@host//", "ORCH_BROKER_URL")
    assert found["namespace"] == ("env", "ORCH_NAMESPACE")
    assert found["chain_links"] == (7, "orch.toml")
    assert found["partitions"] == (64, "default")

    own = orch("settings", "--data-dir", "d", "--json", cwd=tmp_path, ORCH_REDIS_URL=NOWHERE)
    found = {each["name"]: (each["value"], each["source"]) for each in own.json}
    assert (found["data_dir"], found["redis_url"]) == (("d", "--data-dir"), (None, "--data-dir"))
    assert orch("settings", cwd=tmp_path, ORCH_PARTITIONS="0").code == 2


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        (["a=1"], {"a": 1}),
        (["a=x", 'b="1"', "c=[1, 2]", "d="], {"a": "x", "b": "1", "c": [1, 2], "d": ""}),
        (["a.b.c=true", "a.d=null"], {"a": {"b": {"c": True}, "d": None}}),
        (["a=b=c", "n=NaN"], {"a": "b=c", "n": "NaN"}),
        (['a={"b": 1}', "a.c=2"], {"a": {"b": 1, "c": 2}}),
    ],
)
def test_pairs_become_an_input(pairs: list[str], value: Any) -> None:
    assert cli_inputs.read_input(pairs, None) == value


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a..b=1"], [".a=1"], ["a=1", "a.b=2"]])
def test_pairs_that_make_no_sense_are_refused(pairs: list[str]) -> None:
    with pytest.raises(InputError):
        cli_inputs.read_input(pairs, None)


def test_pairs_change_fields_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": {"b": 1, "c": 2}}')
    assert cli_inputs.read_input(["a.b=9"], file) == {"a": {"b": 9, "c": 2}}
    file.write_text("[1]")
    assert cli_inputs.read_input(None, file) == [1]
    with pytest.raises(InputError, match="holds a list"):
        cli_inputs.read_input(["a=1"], file)
    file.write_text("{'a': 1}")
    with pytest.raises(InputError, match="line 1, column 2"):
        cli_inputs.read_input(None, file)


# --- beside a running `orch dev` ---------------------------------------------------------------


def test_another_process_starts_and_looks(dev: Dev) -> None:
    waited = dev.orch("start", "fine.yaml", "--wait", "--input", "x=4", "--json")
    assert waited.code == 0, waited.err
    result = waited.json
    assert set(result) == RESULT_KEYS
    assert all(set(step) == STEP_KEYS for step in result["steps"])
    assert (result["status"], result["output"], result["input"]) == (
        "completed",
        {"x": 8},
        {"x": 4},
    )
    assert {s["path"] for s in result["steps"]} >= {"first", "both", "both/0/left2", "pause"}
    assert re.search(r"^ +\d+\.\d{3} s  first  completed  \d+ ms$", waited.err, re.M)
    assert "\x1b" not in waited.err

    id = result["id"]
    context = dev.orch("status", id, "--json")
    assert context.code == 0 and context.json["metrics"]["completed_steps"] == 8
    assert dev.orch("status", id[:10]).out.startswith(f"execution {id} of fine ")

    events = dev.orch("history", id, "--json").json
    assert all(set(e) == {"at", "event", "path", "attempt", "detail"} for e in events)
    assert [events[0]["event"], events[-1]["event"]] == ["started", "ended"]
    assert "0.000 s  started" in dev.orch("history", id).out

    listed = dev.orch("list", "--workflow", "fine", "--status", "completed", "--json").json
    assert id in [each["id"] for each in listed["executions"]]
    assert len(dev.orch("list", "--limit", "1", "--json").json["executions"]) == 1
    assert id in dev.orch("list", "-n", "100").out

    late = dev.orch("cancel", id, "--json")
    assert (late.code, late.json["status"], late.json["cancelled"]) == (1, "completed", False)


def test_a_workflow_that_fails_says_why(dev: Dev) -> None:
    failed = dev.orch("run", "fails.yaml", "--without-workers", "--json")
    assert failed.code == 1
    assert (failed.json["status"], failed.json["error"]["name"]) == ("failed", "ValueError")
    assert failed.json["steps"][-1]["attempts"] == 2
    assert "bad  retrying  ValueError: it breaks, again in " in failed.err
    assert "ValueError: it breaks (step bad)" in failed.err
    assert f"hint: `orch history {failed.json['id']}`" in failed.err
    tried = dev.orch("attempts", failed.json["id"], "bad", "--json").json
    assert [(each["attempt"], each["outcome"], each["class"]) for each in tried] == [
        (1, "failed", "permanent"),
        (2, "failed", "permanent"),
    ]
    shown = dev.orch("attempts", failed.json["id"], "bad").out
    assert "ValueError: it breaks" in shown
    assert dev.orch("attempts", failed.json["id"], "worse").code == 2


def test_definitions_are_stored_and_started_by_name(dev: Dev) -> None:
    stored = dev.orch("define", "fine.yaml", "--name", "other", "--json")
    assert stored.code == 0 and set(stored.json) == {"name", "version", "warnings"}
    assert dev.orch("define", "fine.yaml").out == f"fine {stored.json['version']}\n"
    workflows = {w["key"]: w for w in dev.orch("workflows", "--json").json}
    assert workflows["other"] == {
        "key": "other",
        "name": "Fine",
        "version": stored.json["version"],
        "description": None,
        "source": "redis",
    }
    assert "data_processing" in dev.orch("workflows").out
    assert dev.orch("graph", "other").out.startswith("flowchart TD")

    arguments = ("start", "other", "--input-file", "-", "--idempotency-key", "k", "--json")
    first = dev.orch(*arguments, stdin='{"x": 2}')
    again = dev.orch(*arguments, stdin='{"x": 2}')
    assert set(first.json) == {"id", "workflow", "version", "existed", "warnings"}
    assert (first.json["existed"], again.json["existed"]) == (False, True)
    assert first.json["id"] == again.json["id"]

    for wrong in (["nothing"], ["broken.yaml"], ["other", "--input", "x=text"]):
        assert dev.orch("start", *wrong).code == 2
    assert dev.orch("define", "wrong.yaml").code == 2


def test_an_execution_is_cancelled_from_outside(dev: Dev) -> None:
    started = dev.orch("start", "waits.yaml")
    id = started.out.strip()
    assert re.fullmatch(r"[0-9a-f]{16}", id)
    timed_out = dev.orch("status", id, "--watch", "--timeout", "0.1", "--json")
    assert timed_out.code == 5 and timed_out.json["status"] == "running"
    assert "timer until 20" in timed_out.json["steps"][0]["waiting_for"]
    with watching(dev, id) as watcher:
        cancelled = dev.orch("cancel", id, "--reason", "enough", "--json")
        assert cancelled.json == {"id": id, "status": "cancelled", "cancelled": True}
        assert watcher.wait(30) == 3
    assert dev.orch("cancel", id).code == 0
    assert dev.orch("status", id, "--json").json["error"]["message"] == "enough"
    assert dev.orch("status", "0" * 16).code == 2


def test_an_execution_is_paused_and_goes_on(dev: Dev) -> None:
    id = dev.orch("start", "waits.yaml").out.strip()
    said = ("--reason", "lunch", "--by", "ada")
    paused = dev.orch("pause", id[:12], *said, "--json")
    assert (paused.code, paused.json) == (0, {"id": id, "status": "paused", "paused": True})
    again = dev.orch("pause", id)
    assert (again.code, again.err) == (0, f"execution {id} was paused before: paused\n")
    shown = dev.orch("status", id).out
    assert re.search(r"^paused by ada at .*: lunch$", shown, re.M)
    why = dev.orch("why", id, "--json").json
    assert set(why) == {
        "id",
        "status",
        "paused",
        "paused_branches",
        "cancelling",
        "waits",
        "error",
        "waiting_for",
        "escalations",
    }
    assert why["paused"]["reason"] == "lunch" and why["waiting_for"]["timer"].endswith("lunch")
    assert "timer: timer until" in dev.orch("why", id).out
    assert dev.orch("status", id, "--watch", "--timeout", "0.1").code == 5

    resumed = dev.orch("resume", id, "--input", "v.n=3", *said, "--json")
    assert (resumed.code, resumed.json["resumed"]) == (0, True)
    late = dev.orch("resume", id, "--input", "v=4", "--json")
    assert (late.code, late.json["error"]["name"]) == (1, "NotAllowed")
    assert dev.orch("resume", id).err == f"execution {id} is not paused: running\n"
    assert dev.orch("skip", id, "timer").out == f"step timer of execution {id} skipped\n"
    ended = dev.orch("status", id, "--json").json
    assert (ended["status"], ended["variables"]) == ("completed", {"v": {"n": 3}})
    assert "by ada, reason lunch" in dev.orch("history", id).out


def test_a_failed_execution_is_retried_and_its_step_skipped(dev: Dev) -> None:
    failed = dev.orch("run", "fails.yaml", "--without-workers", "--json")
    id = failed.json["id"]
    assert "failed" in dev.orch("why", id).out
    retried = dev.orch("retry", id, "--by", "ada")
    assert (retried.code, retried.out) == (0, f"execution {id} retried\n")
    assert dev.orch("status", id, "--watch").code == 1  # it fails again
    assert dev.orch("retry", id, "--json").json["retried"] is True
    assert dev.orch("status", id, "--watch").code == 1
    assert dev.orch("skip", id, "bad", "--json").json["error"]["name"] == "NotAllowed"

    id = dev.orch("start", "unserved.yaml").out.strip()
    skipped = dev.orch("skip", id, "lonely", "--output", '{"n": 1}', "--by", "ada", "--json")
    assert skipped.json == {"id": id, "path": "lonely", "status": "completed", "skipped": True}
    assert dev.orch("status", id, "--json").json["output"] == {"n": 1}
    assert "had completed before" in dev.orch("skip", id, "lonely").err
    assert dev.orch("skip", id, "nowhere").code == 2
    assert dev.orch("retry", id).code == 1


def test_many_are_steered_at_once_after_a_question(dev: Dev) -> None:
    assert dev.orch("define", "waits.yaml", "--name", "many").code == 0
    ids = {dev.orch("start", "many").out.strip() for _ in range(2)}
    many = ("--workflow", "many")
    for answer, code, sentence in (
        ("n\n", 1, "nothing was done"),
        ("", 2, "pause 2 executions of many was not confirmed"),
    ):
        asked = dev.orch("pause", *many, stdin=answer)
        assert asked.code == code and sentence in asked.err
        assert "pause 2 executions of many? [y/N]: " in asked.err
    done = dev.orch("pause", *many, stdin="y\n")
    assert (done.code, done.out) == (0, "2 of 2 executions paused\n")
    resumed = dev.orch("resume", *many, "--yes", "--json").json
    assert (resumed["found"], set(resumed["resumed"]), resumed["refused"]) == (2, ids, [])
    one = ids.pop()
    dev.orch("cancel", one)
    refused = dev.orch("pause", *many, "--status", "cancelled", "--yes", "--json")
    assert refused.code == 1 and [r["id"] for r in refused.json["refused"]] == [one]
    assert "has been cancelled and cannot be paused" in refused.err
    cancelled = dev.orch("cancel", *many, "--reason", "enough", "--yes", "--json").json
    assert (cancelled["cancelled"], cancelled["found"]) == (sorted(ids), 1)
    nothing = dev.orch("retry", *many)
    assert (nothing.code, nothing.out) == (0, "0 of 0 executions retried\n")
    for wrong in ([], [one, "--status", "running"]):
        assert dev.orch("pause", *wrong).code == 2


def watching(dev: Dev, id: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("status", id, "--watch"),
        cwd=dev.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_what_nobody_serves_is_said_and_waited_for(dev: Dev) -> None:
    done = dev.orch("run", "unserved.yaml", "--without-workers", "--timeout", "0.3", "--json")
    assert (done.code, done.json["status"]) == (5, "running")
    assert "warning: no live worker serves capability 'nobody_serves_this'" in done.err
    assert "has not ended within 0.3 s" in done.err and "hint: it goes on" in done.err
    status = dev.orch("status", done.json["id"])
    assert (status.code, "no live worker serves" in status.out) == (0, True)
    assert dev.orch("cancel", done.json["id"]).code == 0


def test_a_worker_of_one_capability_joins(dev: Dev, wait_until: Callable[..., Any]) -> None:
    process = subprocess.Popen(
        command(
            *("worker", "--capability", "double", "--name", "solitary", "--pool", "solo"),
            *("--concurrency", "1", "--include", "caps.py", "--loglevel", "WARNING", "--json"),
        ),
        cwd=dev.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def found() -> list[dict[str, Any]]:
        assert process.poll() is None
        listed = dev.orch("workers", "--json").json
        return [w for w in listed if w["name"].startswith("solitary@")]

    try:
        mine = wait_until(found, 30)[0]
        served = ["double", "escalation"]
        assert (mine["pid"], mine["serves"], mine["pool"]) == (process.pid, served, "solo")
        assert set(mine) == {
            *("id", "name", "host", "pid", "pool", "concurrency", "serves", "draining", "running"),
        }
        assert "solitary@" in dev.orch("workers").out
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert "celery" in json.loads(out)["command"]


def test_a_broker_out_of_reach_is_told_before_anything_starts(dev: Dev) -> None:
    before = dev.orch("list", "--limit", "1", "--json").json
    done = dev.orch(
        "start", "fine.yaml", "-i", "x=1", "--broker", "amqp://user:secret@127.0.0.1:1//", "--json"
    )
    assert done.code == 4 and "the broker at amqp://user:***@127.0.0.1:1//" in done.err
    assert dev.orch("list", "--limit", "1", "--json").json == before


def test_a_terminal_gets_colours_and_a_table_that_moves(dev: Dev) -> None:
    start = ("start", "moves.yaml", "--wait")
    code, shown = in_terminal(dev, *start)
    assert code == 0 and "completed" in shown
    assert "\x1b[32m" in shown, "a status in green"
    assert "\x1b[2K" in shown, "the table is drawn again in its place"
    code, plain = in_terminal(dev, *start, NO_COLOR="1")
    assert code == 0 and not re.search(r"\x1b\[[\d;]*m", plain)
    code, dumb = in_terminal(dev, "list", TERM="dumb")
    assert code == 0 and "\x1b" not in dumb


def in_terminal(dev: Dev, *arguments: str, **env: str) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal; its code, and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        cwd=dev.folder,
        env={**environment(TERM="xterm", COLUMNS="100", LINES="30", **{"NO_COLOR": ""}), **env},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while select.select([ours], [], [], 30)[0] and (text := os.read(ours, 65536)):
            shown += text
    os.close(ours)
    return process.wait(30), shown.decode()


# --- environments of their own -----------------------------------------------------------------


def test_run_brings_redis_and_workers(tmp_path: Path) -> None:
    write_files(tmp_path)
    arguments = ("run", "fine.yaml", "--include", "caps.py", "--concurrency", "1")
    done = orch(*arguments, "--input", "x=4", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.json["output"] == {"x": 8}
    assert done.json["steps"][0]["worker"]
    early = orch(*arguments, "--input", "x=text", cwd=tmp_path)
    assert early.code == 2 and "fine" in early.err.lower()
    broken = orch("run", "fine.yaml", "-i", "x=1", "--include", "gone.py", cwd=tmp_path)
    assert broken.code == 2 and "no such file" in broken.err and "hint: " in broken.err


def test_ctrl_c_cancels_a_run(tmp_path: Path) -> None:
    write_files(tmp_path)
    process = subprocess.Popen(
        command("run", "long.yaml", "--include", "caps.py", "--json"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore it, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stderr is not None
    children = []
    for line in process.stderr:
        if "sleep  running" in line:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
    with process.stdout as out:
        result = json.loads(out.read())
    process.stderr.close()
    assert process.wait(30) == 3
    assert (result["status"], result["error"]["message"]) == ("cancelled", "cancelled by Ctrl-C")
    assert children and not any(c.is_running() for c in psutil.wait_procs(children, 15)[1])


@pytest.mark.chaos
def test_dev_replaces_a_dead_worker_and_ends_whole_when_killed(
    tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    dev = start_dev(write_files(tmp_path), "--workers", "2")
    try:
        first = [worker["pid"] for worker in dev.said["workers"]]
        assert len(first) == 2 and "double" in dev.said["serves"]
        os.kill(first[0], signal.SIGKILL)

        def replaced() -> bool:
            live = {w["pid"] for w in dev.orch("workers", "--json").json}
            return len(live) == 2 and first[0] not in live and first[1] in live

        wait_until(replaced, 30)
        assert f"worker {first[0]} ended with -9" in (tmp_path / "dev.log").read_text()
        assert dev.orch("start", "fine.yaml", "--wait", "-i", "x=1", "--quiet").code == 0
        everything = dev.pids()
        assert len(everything) >= 6  # two workers, children of both, keeper, server
    finally:
        dev.process.kill()
        dev.process.communicate()
    wait_until(lambda: not any(_lives(pid) for pid in everything), 30)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_module_is_the_command() -> None:
    entry = importlib.import_module("orch.cli")
    assert callable(entry.main)
    began = time.monotonic()
    done = subprocess.run(
        command("--version"), env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("orch ") and time.monotonic() - began < 10
