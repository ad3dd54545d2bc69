"""What expressions read: roots, inputs, variables, the output before."""

from __future__ import annotations

from collections.abc import Iterator

from orch.errors import ExpressionError
from orch.workflows.expressions import Expression, parse_expression, parse_template
from orch.workflows.graph import ScopeKind, Step
from orch.workflows.validation.findings import Finding, Severity
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use, texts, uses_of

ROOTS = ("input", "variables", "output", "error", "workflowName", "executionId", "stepId")
"""What every expression may read."""


def check_expressions(review: Review) -> None:
    for step in review.outline.steps():
        for use in uses_of(review, step):
            check_use(review, use, step)
    for use in texts(review, "result", review.document.get("result")):
        check_use(review, use, None)


def check_use(review: Review, use: Use, step: Step | None) -> None:
    for text, reads in compiled(review, use):
        for read in sorted(reads):
            _check_root(review, use, read[0])
            match read:
                case ("variables", name, *_) if _may_be_judged(review, step, name):
                    _check_variable(review, use, step, name, text)
                case ("input", name, *_):
                    check_input_name(review, use, name)
                case ("output", *_) if step in review.live and not use.after:
                    assert step is not None
                    _check_output_before(review, use, step)


def _may_be_judged(review: Review, step: Step | None, name: str) -> bool:
    """What is set before a step that is never reached cannot be said, but for one case."""
    nobody_sets_it = name not in review.variables.bits
    return step is None or step in review.live or nobody_sets_it


def _has_step_before(review: Review, step: Step) -> bool:
    """Whether `$.output` of a step before can be known when a run comes to the step."""
    first = step is step.scope.steps[0] and step.scope.kind is not ScopeKind.LOOP
    return not first or step in review.led_to


def compiled(review: Review, use: Use) -> Iterator[tuple[str, frozenset[tuple[str, ...]]]]:
    """Text and reads of every expression in a text; an error for what does not parse."""
    try:
        if use.whole:
            yield use.text, parse_expression(use.text).reads
            return
        parts = parse_template(use.text).parts
    except ExpressionError as error:
        review.error(use.path, error.message, error.hint)
        return
    for part in parts:
        if isinstance(part, Expression):
            yield part.text, part.reads


def _check_root(review: Review, use: Use, root: str) -> None:
    if root in ROOTS or root in use.roots:
        return
    legal = [f"$.{each}" for each in (*ROOTS, *sorted(use.roots))]
    hint = review.suggest(f"$.{root}", legal)
    if root in review.variables.bits:
        hint = f"variables are read as `$.variables.{root}`"
    review.error(use.path, f"`$.{root}` is unknown; here one may read {', '.join(legal)}", hint)


def check_input_name(review: Review, use: Use, name: str) -> None:
    if review.closed_input is not None and name not in review.closed_input:
        message = f"`$.input.{name}` is read, but the input's schema has no {name!r}"
        review.warning(use.path, message, review.suggest(name, review.closed_input))


def _check_output_before(review: Review, use: Use, step: Step) -> None:
    if not _has_step_before(review, step):
        review.warning(
            use.path,
            "`$.output` is the output of the step before in the same scope, and this is "
            "the first: it is null",
            "read a variable that an earlier step sets, or `$.input`",
        )


def _check_variable(review: Review, use: Use, step: Step | None, name: str, text: str) -> None:
    variables = review.variables
    bit = 1 << variables.bits[name] if name in variables.bits else 0
    if step is None:
        may = must = variables.written()
    else:
        may, must = variables.flow.may.get(step, 0), variables.flow.must.get(step, 0)
        if use.after:
            may |= variables.own[step] | variables.inner[step]
            must |= variables.own[step] | variables.inner[step]
    if bit & must:
        return
    if bit & may:
        if "||" not in text:
            review.findings.append(
                Finding(
                    Severity.INFO,
                    use.path,
                    f"variable {name!r} is not set on every way to this step; where it is "
                    "not, it is null",
                    f"give a default, as in `$.variables.{name} || $.input.{name}`",
                )
            )
        return
    message = f"variable {name!r} is read, but no step before this one sets it"
    writers = [each.id for each in review.outline.steps() if variables.own[each] & bit]
    if writers:
        hint = f"it is set by {', '.join(map(repr, writers[:3]))}, too late for this step"
    else:
        hint = review.suggest(name, variables.bits) or "set it in the `output` of a step before"
    review.warning(use.path, message, hint)
