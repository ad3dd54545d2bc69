"""Rules for messages: what they read, where they route, and rules that never take a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.workflows.definition import StepType
from orch.workflows.graph import Step, as_list, as_mapping, get, join
from orch.workflows.node import HUMAN_APPROVAL
from orch.workflows.ruleset import MEMORY, MESSAGE
from orch.workflows.validation.review.reads import check_use, compiled
from orch.workflows.validation.review.steps import check_capability, does_work
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use, texts
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend

PARTS = ("input", "capability", "queue", "agent", "priority")
"""What `$.message` has."""

_DOES = ("enrich", "transform", "validate", "route", "stop")


@dataclass(frozen=True)
class Written:
    """A rule as it is written, at ``path``."""

    path: str
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.fields.get("name", ""))

    def texts(self, field_name: str) -> frozenset[str]:
        found = as_list(self.fields.get(field_name))
        return frozenset(each for each in found if isinstance(each, str))

    def remembered(self) -> set[str]:
        """The fields that it takes from the memory."""
        enriched = as_mapping(self.fields.get("enrich"))
        return {n for n, source in enriched.items() if "memory" in as_mapping(source)}


@dataclass
class Before:
    """What the rules before one have told: fields that they add, and take from the memory.

    ``inputs``: fields that an input may have, None where one may have any.
    """

    inputs: set[str] | None
    memory: set[str] = field(default_factory=set)
    reader: str = ""  # the first rule that reads the memory


def check_messages(review: Review) -> None:
    rules = [
        Written(join("messageRules", index), rule)
        for index, rule in enumerate(as_list(get(review.document, "messageRules")))
        if isinstance(rule, dict)
    ]
    if not rules:
        return
    senders = [step for step in review.outline.steps() if sends(step)]
    before = Before(_fields_of(senders))
    for number, rule in enumerate(rules):
        _check_name(review, rule, rules[:number])
        _check_meant(review, rule, rules, senders)
        _check_dead(review, rule, rules[:number])
        _check_reads(review, rule, before)
        _check_schema(review, rule)
        _check_route(review, rule, before)


def sends(step: Step) -> bool:
    """Whether a worker is sent a message to do it, or what is done for an item of it."""
    polls = isinstance(as_mapping(step.get("wait")).get("poll"), dict)
    mapped = as_mapping(step.get("map")).get("capability") is not None
    return does_work(step) or (step.type == StepType.WAIT and polls) or mapped


def _asked(step: Step) -> Mapping[str, Any]:
    """Where the capability and the input of its messages stand."""
    if step.type == StepType.WAIT:
        return as_mapping(as_mapping(step.get("wait")).get("poll"))
    return as_mapping(step.get("map")) if step.type == StepType.MAP else step.fields


def _fields_of(senders: list[Step]) -> set[str] | None:
    found: set[str] = set()
    for step in senders:
        given = _asked(step).get("input")
        if given is not None and not isinstance(given, dict):
            return None
        found.update(given or {})
    return found


def _check_name(review: Review, rule: Written, before: list[Written]) -> None:
    if rule.name and any(each.name == rule.name for each in before):
        message = f"the rule {rule.name!r} is there twice"
        review.error(f"{rule.path}.name", message, "names tell rules apart in the history")
    done = [name for name in _DOES if rule.fields.get(name) not in (None, False, {})]
    if not done:
        review.warning(
            rule.path, f"rule {rule.name!r} does nothing", f"it takes {', '.join(_DOES)}"
        )


def _check_meant(review: Review, rule: Written, rules: list[Written], senders: list[Step]) -> None:
    known = {step.id for step in senders}
    for index, name in enumerate(as_list(rule.fields.get("steps"))):
        if not isinstance(name, str) or name in known:
            continue
        path = f"{rule.path}.steps[{index}]"
        if name in review.outline.places:
            hint = "rules are for tasks that workers do, and for polls"
            review.warning(path, f"step {name!r} sends no message", hint)
        else:
            review.error(path, f"there is no step {name!r}", review.suggest(name, known))
    goals = {str(_asked(step).get("capability") or step.get("task")) for step in senders}
    goals |= {str(as_mapping(each.fields.get("route")).get("capability")) for each in rules}
    for index, name in enumerate(as_list(rule.fields.get("capabilities"))):
        if isinstance(name, str) and name not in goals:
            message = f"rule {rule.name!r} never takes a message to {name!r}: none goes there"
            review.warning(
                f"{rule.path}.capabilities[{index}]", message, review.suggest(name, goals)
            )


def _check_dead(review: Review, rule: Written, before: list[Written]) -> None:
    """A rule behind one that takes all that it would take, and stops."""
    for other in before:
        fields = other.fields
        if not fields.get("stop") or other.texts("capabilities"):
            continue
        meant = other.texts("steps")
        if meant and not (rule.texts("steps") and rule.texts("steps") <= meant):
            continue
        when = fields.get("when")
        if when is None or when == rule.fields.get("when"):
            why = "takes every one" if when is None else "has the same condition"
            review.warning(
                rule.path,
                f"rule {rule.name!r} never takes a message: {other.name!r} before it {why}, and "
                f"stops",
                f"put it before {other.name!r}, or leave `stop` out there",
            )
            return


def _check_reads(review: Review, rule: Written, before: Before) -> None:
    enriched = as_mapping(rule.fields.get("enrich"))
    remembered, reads_memory = rule.remembered(), bool(rule.remembered())
    inputs = None if before.inputs is None else set(before.inputs)
    for use, own in _uses(review, rule):
        known = before.memory | (remembered if own else set())
        legal = None if inputs is None else inputs | (set(enriched) if own else set())
        for _, reads in compiled(review, use):
            reads_memory |= any(read[0] == MEMORY for read in reads)
            for read in sorted(reads):
                _check_read(review, use, read, known, legal)
        check_use(review, use, None)
    before.memory |= remembered
    transformed = rule.fields.get("transform")
    if isinstance(transformed, str) or inputs is None:
        before.inputs = None  # it may have any field
    else:
        before.inputs = inputs | set(enriched) | set(as_mapping(transformed))
    if not reads_memory:
        return
    if rule.fields.get("route") is not None:
        message = f"rule {rule.name!r} routes, and reads the memory"
        hint = "where a message goes is decided from what the journal holds alone: see the docs"
        review.error(f"{rule.path}.route", message, hint)
    before.reader = before.reader or rule.name


def _check_read(
    review: Review, use: Use, read: tuple[str, ...], memory: set[str], inputs: set[str] | None
) -> None:
    match read:
        case ("message", part, *_) if part not in PARTS:
            listed = ", ".join(f"$.message.{name}" for name in PARTS)
            hint = review.suggest(part, PARTS) or f"there are {listed}"
            review.error(use.path, f"`$.message.{part}` is unknown", hint)
        case ("message", "input", name, *_) if inputs is not None and name not in inputs:
            message = f"`$.message.input.{name}` is read, and no message has a field {name!r}"
            review.warning(use.path, message, review.suggest(name, inputs))
        case ("memory", name, *_) if name not in memory:
            message = f"`$.memory.{name}` is read, and no rule before has taken it from the memory"
            hint = review.suggest(name, memory) or f"`enrich: {{{name}: {{memory: …}}}}` does"
            review.error(use.path, message, hint)


def _uses(review: Review, rule: Written) -> Iterator[tuple[Use, bool]]:
    """Every expression of a rule, and whether it sees what the rule itself has added."""
    roots = frozenset({MESSAGE, MEMORY}).union(*(s.roots for s in review.outline.scopes))
    mapped = (as_mapping(step.get("map")) for step in review.outline.steps())
    roots |= {"item", "index"} | {str(get(each, "as")) for each in mapped if get(each, "as")}
    if isinstance(rule.fields.get("when"), str):
        yield Use(f"{rule.path}.when", rule.fields["when"], True, roots=roots), False
    for name, source in as_mapping(rule.fields.get("enrich")).items():
        path = join(f"{rule.path}.enrich", name)
        for use in texts(review, path, source, roots=roots):
            yield use, True
    for use in texts(review, f"{rule.path}.transform", rule.fields.get("transform"), roots=roots):
        yield use, True


def _check_schema(review: Review, rule: Written) -> None:
    schema = rule.fields.get("validate")
    if isinstance(schema, dict):
        for path, message in schema_problems(schema):
            place = extend(f"{rule.path}.validate", path)
            review.error(place, f"is no valid JSON Schema: {message}")


def _check_route(review: Review, rule: Written, before: Before) -> None:
    route, path = as_mapping(rule.fields.get("route")), f"{rule.path}.route"
    if not route:
        return
    name = route.get("capability")
    if name == HUMAN_APPROVAL:
        message = "a message goes to a worker, and an approval is asked of people"
        review.error(f"{path}.capability", message, "write a decision before the step")
    else:
        check_capability(review, f"{path}.capability", name)
    if before.reader and before.reader != rule.name:
        review.warning(
            path,
            f"rule {rule.name!r} routes behind {before.reader!r}, which reads the memory: it does "
            f"not see what that adds",
            f"put it before {before.reader!r}: where a message goes is decided first",
        )
