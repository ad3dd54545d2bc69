"""Where the expressions of a step stand, and when they are evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orch.workflows.expressions import MAX_NESTING
from orch.workflows.graph import Step, as_mapping, get, item_roots, join
from orch.workflows.validation.review.subject import Review


@dataclass(frozen=True)
class Use:
    """An expression, or a text that may hold some, and when it is evaluated."""

    path: str
    text: str
    whole: bool  # an expression as a whole, not a text with interpolations
    after: bool = False  # after the step did its work: it sees what the step writes
    roots: frozenset[str] = frozenset()


def uses_of(review: Review, step: Step) -> Iterator[Use]:
    """Every expression of a step."""
    roots, path = step.scope.roots, step.path
    yield from texts(review, f"{path}.input", step.get("input"), roots=roots)
    yield from _whole(f"{path}.condition", step.get("condition"), roots=roots)
    yield from texts(review, f"{path}.affinity", step.get("affinity"), roots=roots)
    choice = as_mapping(step.get("decision"))
    yield from _whole(f"{path}.decision.expression", choice.get("expression"), roots=roots)
    yield from _wait_uses(review, step)
    yield from _limit_uses(review, step)
    for name, value in as_mapping(step.get("output")).items():
        yield from texts(review, join(f"{path}.output", name), value, after=True, roots=roots)
    undoing = as_mapping(step.get("compensate")).get("input")
    yield from texts(review, f"{path}.compensate.input", undoing, after=True, roots=roots)
    following = as_mapping(step.get("next")).get("expression")
    yield from _whole(f"{path}.next.expression", following, after=True, roots=roots)
    yield from _map_uses(review, step)
    looped, within = as_mapping(step.get("loop")), roots | {"index"}
    yield from _whole(f"{path}.loop.while", get(looped, "while"), after=True, roots=within)
    yield from _whole(f"{path}.loop.until", looped.get("until"), after=True, roots=within)
    event = as_mapping(step.get("event"))
    yield from texts(
        review, f"{path}.event.match", event.get("match"), after=True, roots=roots | {"event"}
    )
    for name in ("correlation", "payload"):
        yield from texts(review, f"{path}.event.{name}", event.get(name), roots=roots)


def _limit_uses(review: Review, step: Step) -> Iterator[Use]:
    """The keys of its limits."""
    found = step.get("limits")
    for number, limit in enumerate(found if isinstance(found, list) else ()):
        place = f"{step.path}.limits[{number}].key"
        yield from texts(review, place, as_mapping(limit).get("key"), roots=step.scope.roots)


def _wait_uses(review: Review, step: Step) -> Iterator[Use]:
    wait, roots, path = as_mapping(step.get("wait")), step.scope.roots, f"{step.path}.wait"
    poll = wait.get("poll")
    for name in ("duration", "cron", "timezone"):
        yield from texts(review, f"{path}.{name}", wait.get(name), roots=roots)
    if isinstance(poll, dict):
        within = roots | {"state"}
        yield from texts(review, f"{path}.poll.input", poll.get("input"), roots=within)
        yield from _whole(f"{path}.until", wait.get("until"), after=True, roots=within)
    else:
        yield from texts(review, f"{path}.until", wait.get("until"), roots=roots)


def _map_uses(review: Review, step: Step) -> Iterator[Use]:
    mapped, roots, path = as_mapping(step.get("map")), step.scope.roots, f"{step.path}.map"
    yield from texts(review, f"{path}.items", mapped.get("items"), roots=roots)
    within = roots | item_roots(mapped) if mapped else roots
    yield from texts(review, f"{path}.input", mapped.get("input"), roots=within)
    yield from texts(review, f"{path}.collect", mapped.get("collect"), after=True, roots=within)
    yield from texts(review, f"{path}.name", mapped.get("name"), roots=within)


def _whole(path: str, text: Any, *, after: bool = False, roots: frozenset[str]) -> Iterator[Use]:
    if isinstance(text, str):
        yield Use(path, text, True, after, roots)


def texts(
    review: Review,
    path: str,
    value: Any,
    *,
    after: bool = False,
    roots: frozenset[str] = frozenset(),
) -> Iterator[Use]:
    """The strings within a JSON value, which may hold expressions."""
    work = [(path, value, 0)]
    while work:
        place, each, depth = work.pop()
        if isinstance(each, str):
            if "$" in each:
                yield Use(place, each, False, after, roots)
        elif isinstance(each, dict | list):
            if depth >= MAX_NESTING:
                review.error(path, f"the value is nested deeper than {MAX_NESTING} levels")
                return
            items = each.items() if isinstance(each, dict) else enumerate(each)
            work += [(join(place, key), item, depth + 1) for key, item in items]
