"""Capabilities of this process as tools that a language model may call."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orch.agents import capability as capabilities
from orch.agents.capability import Capability
from orch.agents.context import Context
from orch.errors import ErrorClass, StepCancelled, StepError

if TYPE_CHECKING:
    from pydantic_ai import Tool

MODEL_MADE = ("InvalidInput",)
"""Errors of a tool that the model can mend itself: it is asked to try again."""

LONGEST_SHOWN = 300


def find_tools(names: Sequence[str]) -> list[Capability]:
    """Raises StepError `ToolNotFound` for what is no capability of this process."""
    found = {name: capabilities.get(name) for name in names}
    missing = sorted(name for name, known in found.items() if known is None)
    if missing:
        raise StepError(
            "ToolNotFound",
            f"there is no capability {', '.join(map(repr, missing))} in this worker, which the "
            "model was to have as a tool",
            hint="name its module in ORCH_INCLUDE of the workers that serve models",
            error_class=ErrorClass.PERMANENT,
        )
    return [known for known in found.values() if known is not None]


def make_tools(found: Sequence[Capability], context: Context) -> list[Tool[Any]]:
    from pydantic_ai import Tool

    numbers = itertools.count(1)
    return [
        Tool.from_schema(
            _caller(each, context, numbers),
            name=tool_name(each.name),
            description=each.description,
            json_schema=each.input_schema,
        )
        for each in found
    ]


def tool_name(name: str) -> str:
    """As models take them: `acme.fetch` is `acme_fetch`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]


def _caller(
    found: Capability, context: Context, numbers: itertools.count[int]
) -> Callable[..., Any]:
    async def call(**given: Any) -> Any:
        from pydantic_ai import ModelRetry

        number = next(numbers)
        shown = json.dumps(given, ensure_ascii=False, default=str)
        context.log.info("tool %s: %s", found.name, shown[:LONGEST_SHOWN])
        if found.cost is not None:
            context.use(cost=found.cost)
        try:
            # In a thread: it may be a plain function, and an async one waits for this loop.
            return await asyncio.to_thread(found.call, given, context.within(f"tool{number}"))
        except StepCancelled:
            raise
        except StepError as error:
            if error.name == "BudgetExceeded":
                raise
            context.log.warning("tool %s failed: %s: %s", found.name, error.name, error.message)
            if error.name in MODEL_MADE:
                raise ModelRetry(error.message) from None
            return {"error": error.name, "message": error.message}
        except Exception as error:
            context.log.warning("tool %s failed: %r", found.name, error)
            return {"error": type(error).__name__, "message": str(error)}

    return call
