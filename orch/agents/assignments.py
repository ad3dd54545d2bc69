"""Tasks that are assigned to agents outside of any workflow: executions of one step.

So a task is as durable as any step is: it is tried again, it times out, it is looked for and
cancelled like others. The id of the task is that of the execution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from orch.agents.info import AgentInfo
from orch.agents.registry import AgentRegistry
from orch.control.manager import WorkflowManager
from orch.control.starting import execution_id
from orch.control.status import StepExecution
from orch.errors import InputError, NotFound
from orch.workflows.definition import RetryPolicy, WorkflowDefinition, WorkflowStep
from orch.workflows.external import ASSIGNMENT, TaskId
from orch.workflows.model import CapabilityName, Priority
from orch.workflows.node import Node
from orch.workflows.state import ExecutionStatus, StepStatus

STEP = "task"
"""The one step that they have."""


class AgentTask(BaseModel):
    """What an agent is to do."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    capability: CapabilityName
    """Which of its capabilities."""
    input: JsonValue = None
    """What the capability gets."""
    agent: str | None = None
    """Who does it; without it, the one with the least load that serves the capability."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for an attempt."""
    retry: RetryPolicy | None = None
    """How a failed attempt is tried again; without it, as the capability or the settings say."""
    priority: Priority | None = None
    """0 to 9, the most urgent."""
    idempotency_key: str | None = None
    """The same key is the same task."""


class TaskAssignment(BaseModel):
    """A task, and how it stands. Instants are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    agent_id: str | None = Field(description="who is to do it; None: any, and none has taken it")
    task_name: str = Field(description="the capability")
    input: Any = None
    status: Literal["assigned", "running", "completed", "failed"]
    assigned_time: str
    start_time: str | None = None
    end_time: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    retry_count: int = 0
    execution_id: str
    step_id: str


Task = AgentTask | Mapping[str, Any]


class Assignments:
    """Every method may raise Unreachable."""

    def __init__(self, manager: WorkflowManager, registry: AgentRegistry) -> None:
        self.manager = manager
        self.registry = registry

    def assign(self, agent: str | None, task: Task) -> TaskAssignment:
        """Give a task to an agent. Raises NotFound where there is none of this name, or none that
        serves the capability; InputError where it does not offer that."""
        made = _checked(task)
        wanted = agent or made.agent
        if wanted is None:
            return self.bulk([made])[0]
        return self._start(made, self._able(wanted, made.capability))

    def bulk(self, tasks: Iterable[Task]) -> list[TaskAssignment]:
        """Give each to the agent that it names, else to those that serve its capability, in turn
        to the one with the least load. Nothing is assigned where any of them cannot be.

        Raises as `assign`.
        """
        made = [_checked(task) for task in tasks]
        given: Counter[str] = Counter()
        chosen = [
            self._able(each.agent, each.capability)
            if each.agent is not None
            else self._choose(each.capability, given)
            for each in made
        ]
        return [self._start(task, agent) for task, agent in zip(made, chosen, strict=True)]

    def status(self, task: str) -> TaskAssignment:
        """How a task stands; ``task``: its id, or EXECUTION:PATH of a step. Raises NotFound."""
        named = task_of(task)
        context = self.manager.status(named.execution)
        step = next((each for each in context.steps if each.path == named.path), None)
        own = context.workflow == ASSIGNMENT
        node = self._node(named)
        ended = step is not None and step.ended is not None
        result = None
        if step is not None and step.status == StepStatus.COMPLETED:
            result = self.manager.journal.read_output(named.execution, named.path)
        return TaskAssignment(
            id=named.execution if own else f"{named.execution}:{named.path}",
            agent_id=node.step.agent or (step.worker if step is not None else None),
            task_name=node.capability,
            input=context.input if own else None,
            status=_status(step, ExecutionStatus(context.status)),
            assigned_time=context.created,
            start_time=step.started if step is not None else None,
            end_time=step.ended if ended and step is not None else context.ended,
            result=result,
            error=(step.error if step is not None else None) or context.error,
            retry_count=max(0, step.attempts - 1) if step is not None else 0,
            execution_id=named.execution,
            step_id=node.id,
        )

    # --- behind them -------------------------------------------------------------------------

    def _node(self, task: TaskId) -> Node:
        plan = self.manager.plans.get(self.manager.journal.record(task.execution).plan)
        try:
            return plan.node(task.path)
        except KeyError:
            raise NotFound(
                f"execution {task.execution} has no step {task.path!r}, and was not assigned",
                hint="a task is named by the id that `assign_task` gave, or EXECUTION:PATH",
            ) from None

    def _able(self, wanted: str, capability: str) -> AgentInfo:
        found = self.registry.show(wanted)
        if capability not in found.capabilities:
            offered = ", ".join(found.capabilities) or "nothing now"
            raise InputError(
                f"agent {found.name!r} does not offer {capability!r}; it offers: {offered}",
                hint="`orch agents list --capability NAME` lists those that do",
            )
        return found

    def _choose(self, capability: str, given: Counter[str]) -> AgentInfo:
        able = self.registry.find(capability)
        if not able:
            raise NotFound(
                f"no live agent serves capability {capability!r}",
                hint="start a worker that has it, or register an agent; `orch agents list`",
            )
        chosen = min(able, key=lambda each: (_load(each, given[each.id]), each.name))
        given[chosen.id] += 1
        return chosen

    def _start(self, task: AgentTask, agent: AgentInfo) -> TaskAssignment:
        step = WorkflowStep(
            id=STEP,
            capability=task.capability,
            agent=agent.name,
            external=agent.outside,
            input="$.input",
            timeout=None if task.timeout is None else max(1, int(task.timeout * 1000)),
            retry=task.retry,
        )
        definition = WorkflowDefinition(name=ASSIGNMENT, steps=[step])
        plan = self.manager.runtime.plans.pin(definition, {})
        execution = execution_id(ASSIGNMENT, task.idempotency_key)
        options: Any = {} if task.priority is None else {"priority": task.priority}
        self.manager.start_plan(
            plan, ASSIGNMENT, execution, task.input, task.idempotency_key, options
        )
        return self.status(execution)


def task_of(task: str) -> TaskId:
    """The step that a task is: of an assigned one, the one of its execution.

    Raises InputError."""
    return TaskId.parse(task if ":" in task else f"{task}:{STEP}")


def _checked(task: Task) -> AgentTask:
    if isinstance(task, AgentTask):
        return task
    try:
        return AgentTask.model_validate(task)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in error["loc"]) or "it"
        raise InputError(
            f"a task cannot be assigned: {place}: {error['msg']}, found {error['input']!r}",
            hint="docs/agents.md has the fields of a task",
        ) from None


def _load(agent: AgentInfo, given: int) -> float:
    return agent.load_factor + given / (agent.concurrency or 1)


def _status(
    step: StepExecution | None, execution: ExecutionStatus
) -> Literal["assigned", "running", "completed", "failed"]:
    if step is not None:
        match step.status:
            case StepStatus.COMPLETED | StepStatus.SKIPPED:
                return "completed"
            case StepStatus.FAILED | StepStatus.CANCELLED:
                return "failed"
            case StepStatus.RUNNING:
                return "running"
            case StepStatus.EXTERNAL if step.heartbeat is not None:
                return "running"
    return "failed" if execution.ended else "assigned"
