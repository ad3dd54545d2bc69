"""Commands: real programs, really ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orch.agents.builtin.command_execution import command_execution
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError
from orch.workflows.expressions import Value


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "the condition never held"
        time.sleep(0.01)


def failure(name: str, *arguments: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        command_execution(*arguments, **options)
    assert failed.value.name == name
    return failed.value


def pid_in(file: Path) -> int:
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_text_is_a_script_and_gives_its_output() -> None:
    found = command_execution("printf 'a b'; echo oops >&2")
    assert found == {"result": "a b", "stderr": "oops\n", "exit_code": 0}


def test_a_list_is_a_program_without_a_shell() -> None:
    found = command_execution(["printf", "%s|", "$HOME", "a; b"])
    assert found["result"] == "$HOME|a; b|"


def test_the_capability_takes_values_as_variables(tmp_path: Path) -> None:
    capability = get("command_execution")
    assert capability is not None
    parts = ("cat > ", Value(str(tmp_path / "a; b")), " && cat <", Value(str(tmp_path / "a; b")))
    given = {"command": "evaluated", "input": "from stdin"}
    found = capability.call(given, Context(), templates={"command": parts})
    assert found["result"] == "from stdin"
    assert os.listdir(tmp_path) == ["a; b"]


def test_directory_environment_and_input_reach_the_program(tmp_path: Path) -> None:
    script = "pwd; echo $COLOUR; cat"
    found = command_execution(script, cwd=str(tmp_path), env={"COLOUR": "red"}, input="in")
    assert found["result"] == f"{tmp_path}\nred\nin"


def test_much_input_and_output_pass_at_the_same_time() -> None:
    text = "0123456789abcde\n" * 40_000
    assert command_execution(["cat"], input=text)["result"] == text


def test_a_program_that_leaves_its_input_unread_is_no_failure() -> None:
    assert command_execution("exec <&-; echo ok", input="x" * 1_000_000)["result"] == "ok\n"


def test_output_that_is_no_text_is_replaced() -> None:
    assert command_execution(r"printf '\377a'")["result"] == "\ufffda"


def test_an_exit_code_is_a_failure_with_what_was_said() -> None:
    failed = failure("CommandFailed", "echo so far; echo 'no such host' >&2; exit 3")
    assert "ended with exit code 3:\nno such host" in failed.message
    assert failed.data == {"exit_code": 3, "stdout": "so far\n", "stderr": "no such host\n"}


def test_a_signal_is_a_failure_by_its_name() -> None:
    failed = failure("CommandFailed", "kill -KILL $$")
    assert "was ended by SIGKILL" in failed.message
    assert failed.data["exit_code"] == -9


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    assert (
        "there is no program 'no-such-program'"
        in failure("CommandFailed", ["no-such-program"]).message
    )
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert "Permission denied" in failure("CommandFailed", [str(plain)]).message
    assert "no such directory" in failure("CommandFailed", ["ls"], cwd=str(plain)).message


@pytest.mark.parametrize("command", ["", " \n", [], [""]])
def test_an_empty_command_is_refused(command: Any) -> None:
    assert "empty command" in failure("InvalidInput", command).message


def test_arguments_that_the_system_does_not_take_are_refused() -> None:
    assert (
        "longer than the system allows"
        in failure("InvalidInput", ["echo", "x" * 3_000_000]).message
    )
    assert "null byte" in failure("InvalidInput", ["echo", "a\0b"]).message


@pytest.mark.parametrize("stream", ["1", "2"])
def test_output_beyond_the_limit_ends_the_program(stream: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"echo $$ > {file}; exec yes >&{stream}"
    assert "more than 1000 bytes" in failure("OutputTooLarge", script, output_limit=1000).message
    assert not lives(pid_in(file))


def test_output_up_to_the_limit_is_given() -> None:
    assert command_execution("printf 12345", output_limit=5)["result"] == "12345"


def test_a_timeout_ends_the_program_and_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"echo before; sh -c 'echo $$ > {file}; exec sleep 1000' & wait"
    failed = failure("CommandTimeout", script, timeout=0.5)
    assert "took longer than its `timeout` of 0.5 s" in failed.message
    assert failed.data["stdout"] == "before\n"
    assert not lives(pid_in(file))


def test_a_program_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    failure(
        "CommandTimeout", f"trap '' TERM; echo $$ > {file}; sleep 1000; sleep 1000", timeout=0.5
    )
    assert not lives(pid_in(file))


def test_a_program_gets_time_to_tidy_up(tmp_path: Path) -> None:
    script = f"trap 'echo tidy > {tmp_path}/tidy; exit' TERM; sleep 1000 & wait"
    failure("CommandTimeout", script, timeout=0.5)
    assert (tmp_path / "tidy").read_text() == "tidy\n"


def test_the_deadline_of_the_attempt_ends_the_program() -> None:
    context = Context(deadline=time.time() + 0.3)
    assert "at the deadline" in failure("CommandTimeout", "sleep 1000", context=context).message


def test_a_cancelled_step_ends_its_program(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    context = Context(is_cancelled=file.exists)
    failure("Cancelled", f"echo $$ > {file}; exec sleep 1000", context=context)
    assert not lives(pid_in(file))


def test_a_program_that_closed_its_output_is_waited_for(tmp_path: Path) -> None:
    script = f"exec >&- 2>&-; sleep 0.3; touch {tmp_path}/done"
    assert command_execution(script)["result"] == ""
    assert (tmp_path / "done").exists()
    failure("CommandTimeout", "exec >&- 2>&-; exec sleep 1000", timeout=0.3)


def test_a_child_that_keeps_the_output_open_does_not_hold_the_step(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    before = time.monotonic()
    try:
        assert command_execution(f"echo started; sleep 1000 & echo $! > {file}")["exit_code"] == 0
        assert time.monotonic() - before < 20
        assert lives(pid_in(file))  # it was started on purpose
    finally:
        os.kill(pid_in(file), signal.SIGKILL)


def test_a_program_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from orch.agents.builtin.command_execution import command_execution as run\n"
            f"run(\"trap '' TERM HUP; sh -c 'echo $$ > {file}; exec sleep 1000' & wait\")",
        ]
    )
    child = pid_in(file)
    assert lives(child)
    worker.kill()
    worker.wait()
    wait_until(lambda: not lives(child))


def test_nothing_is_left_behind() -> None:
    me = psutil.Process()
    before = me.num_fds(), len(me.children(recursive=True))
    for _ in range(5):
        command_execution("true")
        failure("CommandFailed", "false")
        failure("CommandTimeout", "sleep 1000", timeout=0.01)
    assert (me.num_fds(), len(me.children(recursive=True))) == before
