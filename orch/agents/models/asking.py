"""One conversation with a language model: the work of a step."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from orch.agents.context import Context
from orch.agents.models.choosing import find_model, model_settings
from orch.agents.models.failures import failure_of_model
from orch.agents.models.tools import find_tools, make_tools
from orch.errors import ErrorClass, StepCancelled, StepError
from orch.workflows.usage import Usage

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.usage import RunUsage

LOOK_EVERY = 1.0
"""Seconds between looks whether the answer is still wanted, and between heartbeats."""

TOKEN = 4
"""Characters of a token, roughly: by these a stream is measured, whose end tells its tokens."""

TAIL = 200
"""Last characters of the answer that a heartbeat shows."""


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    prompt, data       the text, and JSON that is put behind it
    instructions       who it is, and how it shall answer
    model              its name; without it, that of the settings
    output_schema      JSON Schema of the answer, an object; without it, the answer is a text
    tools              names of capabilities that it may call
    max_requests       how often the model may be asked anew, behind tools or a wrong answer
    """

    prompt: str
    data: Any = None
    instructions: str = ""
    model: str | None = None
    output_schema: Mapping[str, Any] | None = None
    tools: Sequence[str] = field(default_factory=tuple)
    temperature: float | None = None
    max_tokens: int | None = None
    max_requests: int = 20

    @property
    def text(self) -> str:
        if self.data is None:
            return self.prompt
        return f"{self.prompt}\n\n{json.dumps(self.data, ensure_ascii=False, indent=1)}".strip()


async def ask(question: Question, context: Context) -> Any:
    """The answer: a text, or with a schema its value. What it used is noted as it comes.

    Raises StepError: `ModelNotConfigured`, `ModelNotFound`, `ModelKeyRejected`, `ModelRefused`,
    `ModelQuotaExceeded` (which trying again does not help), `ModelRateLimited`,
    `ModelUnavailable`, `ModelMisbehaved` (which it may), `BudgetExceeded`, `ToolNotFound`,
    `InvalidInput` (a schema that is none).
    """
    check_schema(question.output_schema)
    agent = _agent(question, context)
    _, tokens = context.left()
    conversation = _Conversation(context, question, tokens)
    watch = asyncio.create_task(conversation.watch())
    try:
        return await conversation.run(agent)
    except StepError:
        raise
    except Exception as error:
        raise conversation.stopped or _own(error) or failure_of_model(error) from error
    finally:
        watch.cancel()
        conversation.note_left()


def check_schema(schema: Mapping[str, Any] | None) -> None:
    """Raises StepError `InvalidInput` for what is no JSON Schema of an object."""
    if schema is None:
        return
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise _no_schema(exc.message) from None
    if schema.get("type") != "object":
        raise _no_schema("its `type` is not `object`")


def _no_schema(reason: str) -> StepError:
    return StepError(
        "InvalidInput",
        f"`outputSchema` is no JSON Schema that a model can answer by: {reason}",
        error_class=ErrorClass.PERMANENT,
    )


def _agent(question: Question, context: Context) -> Agent[None, Any]:
    model = find_model(question.model)
    if model_settings().tracing != "off":
        # Spans by the conventions for generative models; what is asked and answered stays out.
        from pydantic_ai.models.instrumented import InstrumentationSettings, instrument_model

        model = instrument_model(model, InstrumentationSettings(include_content=False))
    tools = make_tools(find_tools(question.tools), context)
    from pydantic_ai import Agent, StructuredDict

    schema = question.output_schema
    output: Any = str
    if schema is not None:
        output = StructuredDict(dict(schema), name=str(schema.get("title") or "answer"))
    made: Agent[None, Any] = Agent(
        model, output_type=output, instructions=question.instructions or None, tools=tools
    )
    if schema is not None:
        validator = Draft202012Validator(schema)

        @made.output_validator
        def fits(value: Any) -> Any:
            from pydantic_ai import ModelRetry

            wrong = next(iter(validator.iter_errors(value)), None)
            if wrong is not None:
                raise ModelRetry(f"the answer does not fit its schema: {wrong.message[:300]}")
            return value

    return made


def _own(error: BaseException | None) -> StepError | None:
    """The step's own error, which a library has wrapped up."""
    for _ in range(5):
        if isinstance(error, StepError):
            return error
        error = error.__cause__ or error.__context__ if error is not None else None
    return None


class _Conversation:
    """``stopped``: why the step itself has ended it."""

    def __init__(self, context: Context, question: Question, tokens: int | None) -> None:
        self.stopped: StepError | None = None
        self._context = context
        self._question = question
        self._tokens = tokens  # that were left when it began
        self._noted = Usage()
        self._events: Any = None
        self._task = asyncio.current_task()
        self._written = 0  # characters of the answer that is being given
        self._answer = ""

    async def run(self, agent: Agent[None, Any]) -> Any:
        from pydantic_ai import AgentRunResultEvent
        from pydantic_ai.usage import UsageLimits

        question, context = self._question, self._context
        bounds = [each for each in (question.max_tokens, self._tokens) if each is not None]
        chosen = {"temperature": question.temperature, "max_tokens": min(bounds, default=None)}
        settings: Any = {name: value for name, value in chosen.items() if value is not None}
        limits = UsageLimits(request_limit=question.max_requests)
        running = agent.run_stream_events(
            question.text, model_settings=settings, usage_limits=limits
        )
        async with running as events:
            async for event in events:
                self._events = events  # which tells of its usage once it has begun
                if isinstance(event, AgentRunResultEvent):
                    self._note(events.usage)
                    context.log.info("answered by %s: %s", self._model(events), self._noted)
                    return event.result.output
                self._take(event)
                self._note(events.usage)
        raise StepError("ModelMisbehaved", "the model gave no answer", error_class="transient")

    async def watch(self) -> None:
        """Ends the conversation when nobody wants the answer any more, and says how far it is."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                self._context.heartbeat({"characters": self._written, "text": self._answer[-TAIL:]})
                gone = await asyncio.to_thread(self._context.cancelled)
            except StepCancelled:
                gone = True
            if gone:
                self._stop(StepCancelled("the answer of the model is wanted no more"))
                return

    def note_left(self) -> None:
        """Note what a conversation that was stopped has used; of the answer that was being given
        nobody tells the tokens, so that they are estimated."""
        with contextlib.suppress(StepError):
            if self._events is not None:
                self._note(self._events.usage)
            self._estimate()

    def _estimate(self) -> None:
        """Raises `BudgetExceeded`."""
        written, self._written = self._written, 0
        if written:
            asked = len(self._question.text) + len(self._question.instructions)
            self._context.use(input_tokens=asked // TOKEN, output_tokens=-(-written // TOKEN))

    def _take(self, event: Any) -> None:
        kind = event.event_kind
        if kind == "part_start":
            self._add(getattr(event.part, "content", None) or getattr(event.part, "args", None))
        elif kind == "part_delta":
            delta = event.delta
            self._add(getattr(delta, "content_delta", None) or getattr(delta, "args_delta", None))

    def _add(self, text: Any) -> None:
        text = text if isinstance(text, str) else json.dumps(text) if text else ""
        self._written += len(text)
        self._answer = (self._answer + text)[-TAIL:]
        if self._tokens is None or self.stopped is not None:
            return
        if self._noted.tokens + self._written // TOKEN > self._tokens:
            used_up = _used_up(self._tokens)
            try:
                self._estimate()
            except StepError as error:
                used_up = error
            self._stop(used_up)

    def _stop(self, error: StepError) -> None:
        if self.stopped is None:
            self.stopped = error
            if self._events is not None:
                self._events.cancel()

    def _note(self, usage: RunUsage) -> None:
        """What the model's server has told since the last time. Raises `BudgetExceeded`."""
        cost = float(usage.cost) if usage.cost is not None else self._price(usage)
        model = self._model(self._events)
        now = Usage(usage.input_tokens, usage.output_tokens, cost, usage.requests, model)
        more, self._noted = now - self._noted, now
        if not more:
            return
        self._written = 0  # the server has told of it
        self._context.use(
            input_tokens=more.input_tokens,
            output_tokens=more.output_tokens,
            cost=max(0.0, more.cost),
            calls=more.calls,
            model=model,
        )

    def _price(self, usage: RunUsage) -> float:
        """By the setting `llm_prices`; 0 where nobody knows."""
        name = self._question.model or model_settings().llm_model or ""
        price = model_settings().llm_prices.get(name)
        if price is None:
            return 0.0
        return (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000

    def _model(self, events: Any) -> str:
        return self._question.model or model_settings().llm_model or ""


def _used_up(tokens: int) -> StepError:
    return StepError(
        "BudgetExceeded",
        f"the {tokens} tokens that a budget had left for the step are used up in the middle of "
        "the answer",
        hint="`orch budget EXECUTION --tokens …` raises it",
        error_class=ErrorClass.PERMANENT,
    )
