"""Why a token waits that its limits do not let begin."""

from __future__ import annotations

from orch.journal.journal import Journal
from orch.journal.limits import Waiting
from orch.workflows.limits import CONCURRENCY, RESOURCE, LimitName, rate_text


def why_limited(journal: Journal, execution: str, path: str, now: int) -> str:
    """For which limit a token waits, and how many before it, in one line."""
    request = journal.read_request(execution, path)
    if request is None or not request.at:
        return "its limits let it begin; a worker goes on"
    found = journal.read_waiting(request)
    waits = "1 waits" if found.before == 1 else f"{found.before} wait"
    return f"{_hindrance(found, now)}, {waits} before it, for {_seconds(now - request.asked)}"


def _hindrance(found: Waiting, now: int) -> str:
    at = found.request.at
    name = LimitName.parse(at)
    if name.kind == RESOURCE:
        return f"waits for {name.name}: {found.held} of {found.capacity} are held"
    if name.kind == CONCURRENCY:
        return f"waits for its turn: {found.held} of {found.capacity} of {name} are at work"
    want = next(want for want in found.request.wants if want.name == at)
    following = f"the next may begin in {_seconds(found.next - now)}"
    return f"waits for its rate of {rate_text(want)}, {name}: {following}"


def _seconds(ms: int) -> str:
    return f"{max(ms, 0) / 1000:.1f} s"
