"""`llm`: asks a language model; and agents that are a prompt, a model and tools.

    {"prompt": "Summarize in one sentence.", "data": "$.variables.report"}
    {"prompt": "Which of these are urgent?", "data": "$.input.tickets",
     "outputSchema": {"type": "object", "properties": {"urgent": {"type": "array"}}}}

gives the text of the answer, or with `outputSchema` the value that it is.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.models.asking import Question, ask
from orch.agents.models.defined import RETRY, register_defined

REQUESTS = 20
"""How often a model is asked anew, behind tools or an answer that did not fit."""


@capability("llm", retry=RETRY, spends=True)
async def llm(
    prompt: Annotated[str, Field(min_length=1)],
    data: Any = None,
    instructions: str = "",
    model: str | None = None,
    outputSchema: dict[str, Any] | None = None,  # the name that workflows use
    tools: list[str] | None = None,
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None,
    maxTokens: Annotated[int, Field(ge=1)] | None = None,
    maxRequests: Annotated[int, Field(ge=1, le=200)] = REQUESTS,
    *,
    context: Context,
) -> Any:
    """Ask a language model.

    data          JSON that is put behind the prompt
    instructions  who the model is, and how it shall answer
    model         its name; without it, that of the setting `llm_model`
    outputSchema  JSON Schema of the answer, an object
    tools         names of capabilities of this worker that the model may call
    maxTokens     of one answer
    maxRequests   how often the model may be asked anew, behind tools or a wrong answer
    """
    question = Question(
        prompt=prompt,
        data=data,
        instructions=instructions,
        model=model,
        output_schema=outputSchema,
        tools=tuple(tools or ()),
        temperature=temperature,
        max_tokens=maxTokens,
        max_requests=maxRequests,
    )
    return await ask(question, context)


register_defined()
