"""What is told before an execution begins, of which only the input is known then."""

from __future__ import annotations

from typing import Any

from orch.errors import ExpressionError
from orch.workflows.expressions import parse_template
from orch.workflows.starts import START_ROOTS
from orch.workflows.validation.review.reads import check_input_name
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use, texts


def check_starts(review: Review) -> None:
    for use in texts(review, "attributes", review.document.get("attributes")):
        _check_use(review, use)
    rule = review.document.get("concurrency")
    if isinstance(rule, dict):
        _check_key(review, rule.get("key"))


def _check_key(review: Review, key: Any) -> None:
    found = list(texts(review, "concurrency.key", key))
    for use in found:
        _check_use(review, use)
    if isinstance(key, str) and not found:
        review.warning(
            "concurrency.key",
            f"the key {key!r} is the same for all executions",
            "tell it from the input, as `$.input.customer`; or use `maxActive`",
        )


def _check_use(review: Review, use: Use) -> None:
    try:
        reads = parse_template(use.text).reads
    except ExpressionError as error:
        review.error(use.path, error.message, error.hint)
        return
    for read in sorted(reads):
        if read[0] not in START_ROOTS:
            legal = ", ".join(f"$.{root}" for root in START_ROOTS)
            review.error(
                use.path,
                f"`$.{read[0]}` is not known before an execution begins; here one may read {legal}",
                review.suggest(f"$.{read[0]}", [f"$.{root}" for root in START_ROOTS]),
            )
        elif read[0] == "input" and len(read) > 1:
            check_input_name(review, use, read[1])
