"""Agents outside of Celery: registered by whoever runs them, sent tasks, or asking for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from orch.agents.info import AgentCapability, AgentInfo, AgentStatus, figures, instant
from orch.control.noting import agent_changed
from orch.control.runtime import Runtime
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.hooks import check_url
from orch.journal.agents import AgentRecord
from orch.journal.pushes import Registered
from orch.workflows.declared import Declared
from orch.workflows.model import AgentName, CapabilityName

SecretName = Annotated[str, StringConstraints(pattern=r"^ORCH_AGENT_[A-Z0-9_]+$", max_length=200)]
"""A variable that an agent may name: whoever registers one must not get others sent to its URL."""

MOST_OFFERED = 1000
"""Capabilities of one agent."""


class OutsideAgent(BaseModel):
    """What is registered of an agent. Its name is its id, and what steps name as their `agent`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: AgentName
    type: Annotated[str, Field(min_length=1, max_length=100)] = "external"
    """What kind of agent it is, for those who list them."""
    url: str | None = None
    """http or https: where its tasks are posted to; without it, it asks for them."""
    secret_env: SecretName | None = None
    """The variable of the workers, `ORCH_AGENT_…`, that holds the key of the signature."""
    token_env: SecretName | None = None
    """The variable, `ORCH_AGENT_…`, with a token that is sent as `Authorization: Bearer`."""
    timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds that it has to answer a post."""
    tries: Annotated[int, Field(ge=1, le=100)] = 5
    """How often a task is posted to an agent that does not answer, before the attempt fails."""
    ttl: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which it is offline without a heartbeat; None: it need not send any."""

    @field_validator("url")
    @classmethod
    def _is_one(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value


Given = OutsideAgent | Mapping[str, Any] | str
Offered = Sequence[str | Mapping[str, Any]]


class OutsideAgents:
    """Registers them, and says how they are. Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.journal = runtime.journal

    def register(self, agent: Given, capabilities: Offered) -> str:
        """Register an agent, or what is new of it; its id. It counts as a heartbeat.

        ``agent``: its name, or the fields of an `OutsideAgent`. ``capabilities``: names, or
        mappings of ``name`` and, of each, what `AgentCapability` has. Raises InputError.
        """
        made = _checked(agent)
        self._check_free(made.name)
        offered = _offered(made.name, capabilities)
        content = {**made.model_dump(mode="json", exclude_defaults=True), "capabilities": offered}
        said = f"agent {made.name} was registered by {current_user()}; it offers "
        said += ", ".join(sorted(offered)) or "nothing"
        note = agent_changed(made.name, "registered", self.journal.clock(), said, *sorted(offered))
        self.journal.register_agent(made.name, json.dumps(content), note)
        return made.name

    def _check_free(self, name: str) -> None:
        for said in self.journal.live_workers():
            worker = str(said.get("name") or said["id"])
            if name in (worker, worker.partition("@")[0]):
                raise InputError(
                    f"{name!r} is a live worker, {worker}, and no agent outside",
                    hint="workers are in the registry already; choose another name",
                )

    def unregister(self, agent: str) -> None:
        """Raises NotFound, where no agent outside is called so."""
        said = f"agent {agent} was unregistered by {current_user()}"
        note = agent_changed(agent, "unregistered", self.journal.clock(), said)
        if not self.journal.unregister_agent(agent, note):
            raise _unknown(agent)

    def heartbeat(self, agent: str, load: float = 0.0) -> None:
        """It lives; ``load``: 0 to 1, where it takes no more. Raises NotFound, InputError."""
        if not 0 <= load <= 1:
            raise InputError(f"the load of agent {agent!r} is {load}, and should be from 0 to 1")
        if not self.journal.beat_agent(agent, load):
            raise _unknown(agent)

    def find(self, agent: str) -> OutsideAgent | None:
        found = self.journal.registered_agent(agent)
        return None if found is None else read_registered(found)[0]

    def list(self) -> Sequence[tuple[AgentInfo, Mapping[str, Any]]]:
        """Each of them, and what it offers."""
        found = self.journal.registered_agents()
        records = self.journal.read_agents(list(found))
        now = self.journal.clock()
        return [_shown(each, records[id], now) for id, each in found.items()]


def read_registered(found: Registered) -> tuple[OutsideAgent, dict[str, dict[str, Any]]]:
    """What was registered, and what it offers by capability."""
    content = json.loads(found.text)
    offered = content.pop("capabilities")
    return OutsideAgent.model_validate(content), offered


def _shown(found: Registered, record: AgentRecord, now: int) -> tuple[AgentInfo, Mapping[str, Any]]:
    agent, offered = read_registered(found)
    status = AgentStatus.BUSY if found.load >= 1 else AgentStatus.ONLINE
    if agent.ttl is not None and now - found.beat > agent.ttl * 1000:
        status = AgentStatus.OFFLINE
    info = AgentInfo(
        id=agent.name,
        name=agent.name,
        type=agent.type,
        status=status,
        capabilities=list(offered),
        load_factor=found.load,
        last_seen_time=instant(max(found.beat, record.seen)),
        versions={name: each["version"] for name, each in offered.items()},
        outside=True,
        **figures(record.sums({})),
    )
    return info, offered


def _checked(agent: Given) -> OutsideAgent:
    if isinstance(agent, OutsideAgent):
        return agent
    try:
        return OutsideAgent.model_validate({"name": agent} if isinstance(agent, str) else agent)
    except ValidationError as exc:
        raise _wrong("an agent", exc) from None


class _Offered(AgentCapability):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: CapabilityName


def _offered(agent: str, capabilities: Offered) -> dict[str, dict[str, Any]]:
    if isinstance(capabilities, str) or not 0 < len(capabilities) <= MOST_OFFERED:
        raise InputError(
            f"agent {agent!r} offers a list of 1 to {MOST_OFFERED} capabilities",
            hint="name at least one; steps are given to it by their names",
        )
    found = {}
    for each in capabilities:
        try:
            made = _Offered.model_validate({"name": each} if isinstance(each, str) else each)
        except ValidationError as exc:
            raise _wrong(f"a capability of agent {agent!r}", exc) from None
        Declared(version=made.version, rate_limit=made.rate_limit, concurrency=made.concurrency)
        content = made.model_dump(mode="json", exclude_none=True)
        found[content.pop("name")] = content
    return found


def _wrong(what: str, exc: ValidationError) -> InputError:
    error = exc.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in error["loc"]) or "it"
    said = error["msg"].removeprefix("Value error, ")
    return InputError(
        f"{what} cannot be registered: {place}: {said}, found {error['input']!r}",
        hint="docs/agents.md has the fields",
    )


def _unknown(agent: str) -> NotFound:
    return NotFound(
        f"no agent outside of Celery is registered as {agent!r}",
        hint="`orch agents list` shows them; a worker leaves the list when it ends",
    )
