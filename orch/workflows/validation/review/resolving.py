"""Conflicts: which output counts, and how many votes that takes."""

from __future__ import annotations

from typing import Any

from orch.workflows.definition import StepType
from orch.workflows.graph import Step, as_list, as_mapping
from orch.workflows.resolving import majority
from orch.workflows.validation.review.reads import compiled
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use


def check_resolving(review: Review) -> None:
    for step in review.outline.steps():
        parallel = as_mapping(step.get("parallel"))
        if parallel.get("resolve") is not None:
            _check_parallel(review, step, parallel)
        vote = as_mapping(step.get("vote"))
        if vote:
            _check_by(review, f"{step.path}.vote.by", vote.get("by"))
            _check_need(review, f"{step.path}.vote.need", vote.get("need"), vote.get("of"))
            _check_rungs(review, step)


def policy_of(resolve: Any) -> Any:
    """The policy, in the short form or the long one."""
    return as_mapping(resolve).get("policy") if isinstance(resolve, dict) else resolve


def _check_parallel(review: Review, step: Step, parallel: Any) -> None:
    path, resolve = f"{step.path}.parallel", parallel["resolve"]
    policy, total = policy_of(resolve), len(as_list(parallel.get("branches")))
    asked = as_mapping(resolve)
    _check_by(review, f"{path}.resolve.by", asked.get("by"))
    _check_need(review, f"{path}.resolve.need", asked.get("need"), total)
    if policy in ("first", "priority", "vote") and parallel.get("join", "all") != "all":
        message = f"`resolve: {policy}` says itself when the step is decided, and so does `join`"
        hint = "leave `join` out; with `latest` and `human` it says which branches must succeed"
        review.error(f"{path}.join", message, hint)
    if total == 1:
        message = "there is one branch, which nobody can contradict"
        review.warning(f"{path}.resolve", message, "add branches, or leave `resolve` out")


def _check_need(review: Review, path: str, need: Any, total: Any) -> None:
    if not (isinstance(need, int) and isinstance(total, int) and need > 0 < total):
        return
    if need > total:
        review.error(path, f"{need} must say the same, and there are {total}")
    elif need < majority(total):
        message = f"{need} of {total} is no majority: two answers could both have so many"
        review.error(path, message, f"take at least {majority(total)}, or leave it out")


def _check_by(review: Review, path: str, text: Any) -> None:
    if not isinstance(text, str):
        return
    for _, reads in compiled(review, Use(path, text, True)):
        for other in sorted({read[0] for read in reads} - {"output"}):
            message = f"`$.{other}` is read, and `by` sees the output of a branch alone"
            review.error(path, message, "read `$.output`, as in `$.output.verdict`")
        if not reads:
            review.error(path, "it is the same for every output", "read `$.output.verdict`, say")


def _check_rungs(review: Review, step: Step) -> None:
    """What a ladder can do about a vote: it is asked about the whole, not about one voter."""
    if step.type != StepType.TASK:
        return
    for index, rung in enumerate(as_list(step.get("escalation"))):
        kind = rung if isinstance(rung, str) else next(iter(as_mapping(rung)), "")
        if kind in ("retry", "reassign"):
            message = f"the ladder is asked about the vote as a whole, so `{kind}` is left out"
            hint = "give the step a `retry` for each voter; take `fallback` or `human` here"
            review.warning(f"{step.path}.escalation[{index}]", message, hint)
