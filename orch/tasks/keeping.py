"""Good outputs are kept for steps that will fail, where a fallback asks for them."""

from __future__ import annotations

import logging
import time

from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.fallback import CAPABILITY, Fallback
from orch.journal.journal import Claimed
from orch.workflows.falling import fallback_of, output_name
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Outcome
from orch.workflows.state import encode

logger = logging.getLogger(__name__)

OFTEN = 1.0
"""Seconds between two outputs of a capability that a process keeps, where its input does not
matter."""

_latest: dict[str, float] = {}


def keep_good(
    runtime: Runtime,
    node: Node,
    path: str,
    claim: Claimed,
    outcome: Outcome,
    declared: Fallback | None,
) -> None:
    """Keep what a call came to, if the step, or else its capability, has a use for it."""
    wanted = fallback_of(node) or declared
    if wanted is None or wanted.cached is None or node.poll is not None:
        return
    if not isinstance(outcome, Completed):
        return
    cached = wanted.cached
    if cached.by == CAPABILITY:
        if time.monotonic() - _latest.get(node.capability, float("-inf")) < OFTEN:
            return
        _latest[node.capability] = time.monotonic()
    name = output_name(cached, node, path, claim.view)
    if name is None:
        return
    text = encode(outcome.output) if outcome.text is None else outcome.text
    keep = max(1, int(cached.max_age * 1000))
    try:
        if not runtime.journal.keep_output(node.capability, name, text, keep):
            logger.warning(
                "an output of %r is %d bytes, and is not kept for its fallback: "
                "ORCH_FALLBACK_BYTES is the limit",
                node.capability,
                len(text.encode()),
            )
    except OrchError as exc:
        logger.warning("an output of %r is not kept for its fallback: %s", node.capability, exc)
