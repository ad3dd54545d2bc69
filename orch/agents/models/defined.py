"""Agents that are data: a prompt, a model and tools, by the name of a capability."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.models.asking import Question, ask, check_schema
from orch.agents.models.choosing import model_settings
from orch.errors import SettingsError, StepError
from orch.llm import LlmAgent
from orch.settings import Settings

RETRY = {
    "maxAttempts": 5,
    "interval": 1000,
    "strategy": "exponential",
    "maxInterval": 60_000,
    "jitter": True,
    "retryOn": ["class:transient"],
}
"""Of steps that say nothing: a server that asks to wait, or is away, is asked again."""

ENDINGS = (".yaml", ".yml")


def register_defined() -> None:
    """Make each agent of the settings a capability. Raises SettingsError."""
    for name, agent in defined_agents(model_settings()).items():
        register(name, agent)


def defined_agents(settings: Settings) -> dict[str, LlmAgent]:
    """Those of the setting `llm_agents`, and of the files of `llm_agents_dir`."""
    found = dict(settings.llm_agents)
    folder = settings.llm_agents_dir
    if folder is None:
        return found
    if not folder.is_dir():
        raise SettingsError(
            f"`llm_agents_dir` is {str(folder)!r}, and there is no such directory",
            hint="make it, or unset ORCH_LLM_AGENTS_DIR",
        )
    for path in sorted(p for p in folder.iterdir() if p.suffix in ENDINGS):
        name, agent = _read(path)
        if name in found:
            raise SettingsError(
                f"the agent {name!r} is defined twice, the second time by {path}",
                hint="give one of them another name",
            )
        found[name] = agent
    return found


def register(name: str, agent: LlmAgent) -> None:
    """Make an agent the capability of its name. Raises SettingsError."""
    try:
        check_schema(agent.output_schema)
    except StepError as exc:
        raise SettingsError(f"agent {name!r}: {exc.message}") from None

    async def answer(
        prompt: Annotated[str, Field(min_length=1)] = "", data: Any = None, *, context: Context
    ) -> Any:
        if not prompt and data is None:
            raise StepError("InvalidInput", f"agent {name!r} takes a `prompt`, `data` or both")
        question = Question(
            prompt=prompt,
            data=data,
            instructions=agent.instructions,
            model=agent.model,
            output_schema=agent.output_schema,
            tools=tuple(agent.tools),
            temperature=agent.temperature,
            max_tokens=agent.max_tokens,
            max_requests=agent.max_requests,
        )
        return await ask(question, context)

    answer.__qualname__ = f"agent {name}"
    described = agent.description or agent.instructions.strip().partition("\n")[0]
    capability(name, description=described, retry=RETRY, spends=True)(answer)


def _read(path: Path) -> tuple[str, LlmAgent]:
    """Its name is that in the file, else the file's own."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        name = str(content.pop("name", path.stem))
        return name, LlmAgent.model_validate(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    except (OSError, ValueError, yaml.YAMLError) as exc:
        reason = str(exc).splitlines()[0]
    raise SettingsError(
        f"{path} defines no agent: {reason}",
        hint="an agent has `instructions`, and may have `name`, `model`, `tools`, `outputSchema`",
    )
