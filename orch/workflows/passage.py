"""The passage of a message through the rules, in their order.

It happens twice. `decide_address`, when the step is entered: what routes is decided, once, from
what the journal holds; rules that read the memory are passed over. `prepare`, in the worker,
before each call: all rules make the input; those that route hold as they were decided.

The rules of the workflow come first, then those of the capability to which the message goes by
then, and of the next one, if those send it on; no list is passed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orch.errors import StepError
from orch.workflows.expressions import Compiled, Told, literal, truthy
from orch.workflows.message import Address, Message
from orch.workflows.ruleset import MEMORY, MESSAGE, VALUE, FieldSource, Rule, Rules
from orch.workflows.state import encode
from orch.workflows.validation import sentences_of

INVALID_MESSAGE = "InvalidMessage"
"""The error of an input that misses the schema of a rule, or that no field can be added to."""

ENRICHMENT_FAILED = "EnrichmentFailed"
"""The error of a field that is required, and for which nothing is found."""

Recall = Callable[[str, Mapping[str, Any]], list[Any]]
"""(`RULE.FIELD`, {text, tags, agent, area, limit}) -> records of the memory. What is missing, or
null, does not matter."""


@dataclass(frozen=True)
class Prepared:
    """What is called: ``message``, and its input as a mapping. ``taken``: names of the rules that
    took it, in order."""

    message: Message
    input: Compiled
    taken: tuple[str, ...]


def decide_address(rules: Rules, message: Message, context: Mapping[str, Any]) -> Address:
    """Where the message goes. ``context``: what the step's expressions see. Raises StepError."""
    passage = _Passage(rules, message, context)
    passage.run()
    return passage.address


def prepare(
    rules: Rules,
    message: Message,
    context: Mapping[str, Any],
    given: Compiled,
    decided: Collection[str],
    recall: Recall,
) -> Prepared:
    """The message as it is called.

    ``message``: as the step hands it over; ``given``: the mapping that its input is of;
    ``decided``: the rules with a route that took it. Raises StepError.
    """
    passage = _Preparing(rules, message, context, given.told_apart(context), decided, recall)
    passage.run()
    made = literal(passage.message.input, passage.told)
    return Prepared(passage.message, made, tuple(passage.taken))


class _Passage:
    """One that decides where the message goes."""

    def __init__(
        self, rules: Rules, message: Message, context: Mapping[str, Any], told: Told | None = None
    ) -> None:
        self.rules = rules
        self.message = message
        self.told = dict(told or {})
        self.taken: list[str] = []
        self.address = Address()
        self._context = dict(context)
        self._memory: dict[str, Any] = {}

    def run(self) -> None:
        passed: set[str] = set()
        self._pass(self.rules.own)
        while (name := self.message.capability) not in passed:
            passed.add(name)
            self._pass(self.rules.of.get(name, ()))

    def _pass(self, rules: Sequence[Rule]) -> None:
        for rule in rules:
            if not rule.is_for(self.message.capability):
                continue
            try:
                if not self._takes(rule):
                    continue
                self._enrich(rule)
                self._transform(rule)
                self._validate(rule)
            except StepError as error:
                raise _named(error, rule) from error
            self.taken.append(rule.name)
            self._route(rule)
            if rule.asked.stop:
                return

    def _takes(self, rule: Rule) -> bool:
        return not rule.reads_memory and self._holds(rule)

    def _holds(self, rule: Rule) -> bool:
        return rule.when is None or truthy(rule.when.evaluate(self._seen))

    @property
    def _seen(self) -> Mapping[str, Any]:
        """What an expression of a rule sees."""
        return self._context | {MESSAGE: self.message.as_dict(), MEMORY: self._memory}

    def _enrich(self, rule: Rule) -> None:
        for name, source in rule.enrich:
            found = self._found(f"{rule.name}.{name}", name, source)
            if source.asked.required and found in (None, []):
                what = "record of the memory" if source.sought is not None else "value"
                reason = f"there is no {what} for the field {name!r}, which is required"
                raise StepError(ENRICHMENT_FAILED, reason, data={"field": name})
            before = self.message.input
            if before is not None and not isinstance(before, dict):
                kind = "a list" if isinstance(before, list) else encode(before)[:100]
                reason = f"the field {name!r} cannot be added to the input: it is {kind}, no object"
                raise StepError(INVALID_MESSAGE, reason, data={"field": name})
            self.message = replace(self.message, input={**(before or {}), name: found})

    def _found(self, full_name: str, name: str, source: FieldSource) -> Any:
        if source.sought is not None:
            found = self._memory[name] = self._recall(full_name, source.sought)
            return found
        self.told |= source.compiled.told_apart(self._seen)
        return source.compiled.evaluate(self._seen)[VALUE]

    def _transform(self, rule: Rule) -> None:
        if rule.transform is not None:
            self.told |= rule.transform.told_apart(self._seen)
            made = rule.transform.evaluate(self._seen)
            self.message = replace(self.message, input=made)

    def _route(self, rule: Rule) -> None:
        route = rule.asked.route
        if route is not None:
            self.address = self.address.then(rule.name, route)
            self.message = self.message.sent(route)

    def _recall(self, name: str, sought: Compiled) -> list[Any]:
        raise AssertionError("a rule that reads the memory is passed over")

    def _validate(self, rule: Rule) -> None:
        """Only what is called must fit."""


class _Preparing(_Passage):
    """One that makes the input of a call, to where it was decided that the message goes."""

    def __init__(
        self,
        rules: Rules,
        message: Message,
        context: Mapping[str, Any],
        told: Told,
        decided: Collection[str],
        recall: Recall,
    ) -> None:
        super().__init__(rules, message, context, told)
        self._decided = decided
        self._ask = recall

    def _takes(self, rule: Rule) -> bool:
        return rule.name in self._decided if rule.routes else self._holds(rule)

    def _recall(self, name: str, sought: Compiled) -> list[Any]:
        return self._ask(name, sought.evaluate(self._seen))

    def _validate(self, rule: Rule) -> None:
        schema = rule.asked.validate_
        misses = sentences_of(schema, self.message.input) if schema is not None else []
        if misses:
            raise StepError(INVALID_MESSAGE, f"the input misses its schema: {'; '.join(misses)}")


def _named(error: StepError, rule: Rule) -> StepError:
    return StepError(
        error.name,
        f"message rule {rule.name!r}: {error.message}",
        data={"rule": rule.name} | (error.data if isinstance(error.data, dict) else {}),
        hint=error.hint,
        escalation=error.escalation,
        error_class=error.error_class,
    )
