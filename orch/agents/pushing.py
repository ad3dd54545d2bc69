"""Sends tasks to agents that are posted to, and takes what they answer.

Whoever looks at an open task whose agent it names has it sent; that may be often, so the first
has it to itself, and an agent that has taken it is not sent it again. One that does not answer
is tried again, twice as long each time; then the attempt fails, as any other does.
"""

from __future__ import annotations

import http.client
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from orch import posting
from orch.agents.outside import OutsideAgent, OutsideAgents
from orch.control.external import ExternalTasks
from orch.control.runtime import Runtime
from orch.errors import AlreadyReported, InputError, NotAllowed, SettingsError
from orch.posting import Answer
from orch.workflows.external import TaskId
from orch.workflows.node import Node
from orch.workflows.state import ExecutionStatus, StepState, StepStatus

FIRST_PAUSE, LONGEST_PAUSE = 1_000, 60_000
"""Ms between tries; twice as long each time."""

LEASE = 5_000
"""Ms for which one process has a task to itself, beside what the agent has to answer."""

KNOWN = 7 * 86_400_000
"""Ms for which is known that an agent has taken a task, where the step has no `timeout`."""

UNREACHABLE, REFUSED = "AgentUnreachable", "AgentRefused"


def push_task(runtime: Runtime, task: str) -> str:
    """Send a task to its agent, if it is open and nobody else does; a word for Flower.

    Harmless if repeated. Raises Unreachable: then the watch has it sent again.
    """
    named, journal = TaskId.parse(task), runtime.journal
    found = journal.read_state(named.execution, named.path)
    if found is None or (found[1].status, found[1].attempt) != (
        StepStatus.EXTERNAL,
        named.attempt,
    ):
        return "not open"
    if journal.status(named.execution) is not ExecutionStatus.RUNNING:
        return "rests"  # its resumption has it looked at
    key = journal.plan_of(named.execution)
    if key is None:
        return "missing"
    node = runtime.plans.get(key).node(named.path)
    agent = OutsideAgents(runtime).find(node.step.agent or "")
    if agent is None or agent.url is None:
        return "waits to be asked for"
    return _Push(runtime, agent, node, named, found[1]).send()


class _Push:
    """One task, in the process that sends it."""

    def __init__(
        self, runtime: Runtime, agent: OutsideAgent, node: Node, task: TaskId, state: StepState
    ) -> None:
        self.journal = runtime.journal
        self.external = ExternalTasks(runtime)
        self.agent = agent
        self.node = node
        self.task = task
        self.state = state
        self.keep = (node.step.timeout or KNOWN) + LONGEST_PAUSE

    def send(self) -> str:
        lease = LEASE + int(self.agent.timeout * 1000)
        word, tries = self.journal.take_push(str(self.task), lease, self.keep)
        if word != "TAKEN":
            return word.lower()
        self._look_at(lease)  # should this process die
        try:
            answer = self._post()
        except SettingsError as exc:
            return self._fail(REFUSED, exc.message, retryable=False)
        except (OSError, http.client.HTTPException) as exc:
            return self._again(tries, f"does not answer: {type(exc).__name__}: {exc}")
        if answer.accepts:
            return self._take(answer)
        said = f"answers with HTTP {answer.status}"
        if answer.may_pass:
            return self._again(tries, said)
        return self._fail(REFUSED, f"agent {self.agent.name!r} {said}", retryable=False)

    def _post(self) -> Answer:
        agent = self.agent
        assert agent.url is not None
        secret = _variable(agent, agent.secret_env)
        token = _variable(agent, agent.token_env)
        most = self.journal.settings.output_limit + 10_000
        return posting.post(
            agent.url,
            str(self.task),
            self._body(),
            timeout=agent.timeout,
            secret=secret,
            token=token,
            most=most,
        )

    def _body(self) -> str:
        task, state, timeout = self.task, self.state, self.node.step.timeout
        now = datetime.fromtimestamp(self.journal.clock() / 1000, UTC)
        data = {
            "task": str(task),
            "execution": task.execution,
            "path": task.path,
            "step": self.node.id,
            "attempt": task.attempt,
            "agent": self.agent.name,
            "capability": self.node.capability,
            "input": self.journal.task_input(task.execution, task.path),
            "idempotency_key": f"{task.execution}/{task.path}",
            "deadline": (state.started + timeout) / 1000 if timeout else None,
        }
        content = {"type": "task.assigned", "timestamp": now.isoformat(), "data": data}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def _take(self, answer: Answer) -> str:
        """It has the task, and will report, or says at once what came of it."""
        result = _result_in(answer)
        if result is None:
            self.journal.leave_push(str(self.task), 0, 0, self.keep, accepted=True)
            return "taken"
        error = result.get("error")
        if error is not None:
            found = error if isinstance(error, dict) else {"message": str(error)}
            name, message = str(found.get("name") or "TaskFailed"), str(found.get("message", ""))
            return self._fail(name, message, retryable=found.get("retryable") is not False)
        try:
            self.external.complete(self.task, result["output"], by=self.agent.name)
        except AlreadyReported:
            return "reported before"
        except (NotAllowed, InputError) as exc:
            return self._fail("InvalidOutput", exc.message)
        return "completed"

    def _again(self, tries: int, why: str) -> str:
        if tries >= self.agent.tries:
            message = f"agent {self.agent.name!r} {why}; it was tried {tries} times"
            return self._fail(UNREACHABLE, message)
        pause = min(FIRST_PAUSE * 2 ** (tries - 1), LONGEST_PAUSE)
        due = self.journal.clock() + pause
        self.journal.leave_push(str(self.task), tries, due, self.keep, accepted=False)
        self._look_at(pause)
        return f"{why[:100]}; again in {pause // 1000} s"

    def _look_at(self, pause: int) -> None:
        token = (self.task.execution, self.task.path)
        self.journal.look_sooner([token], self.journal.clock() + pause)

    def _fail(self, name: str, message: str, *, retryable: bool = True) -> str:
        with suppress(NotAllowed):  # it was reported, or given up, meanwhile
            self.external.fail(self.task, name, message, retryable=retryable, by=self.agent.name)
        return f"failed: {name}: {message}"[:200]


def _result_in(answer: Answer) -> dict[str, Any] | None:
    """What an agent says at once, as `{"output": …}` or `{"error": …}`; None: it will report."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return found if "output" in found or found.get("error") is not None else None


def _variable(agent: OutsideAgent, name: str | None) -> str | None:
    if name is None:
        return None
    found = os.environ.get(name, "").strip()
    if not found:
        raise SettingsError(
            f"agent {agent.name!r} names the variable {name}, which is not set here",
            hint=f"set {name} where the queue `escalation` is served",
        )
    return found
