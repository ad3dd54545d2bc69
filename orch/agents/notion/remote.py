"""Notion's API, by its client: with the version of 2025-09-03, and errors that say what to do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from orch.agents.code.programs import need_module
from orch.agents.context import Context
from orch.agents.notion.account import Account
from orch.errors import StepError

VERSION = "2025-09-03"
PATIENCE = 30.0
"""Seconds for which an answer is waited for."""
AT_ONCE = 100
"""Results in one answer: Notion gives no more."""
MOST = 1000
"""Results that are gathered of several answers."""

_LOGGER = logging.getLogger("orch.notion")


def connect(account: Account, context: Context) -> Any:
    """A client. Raises StepError `ToolMissing` without the library."""
    need_module("notion_client")
    from notion_client import Client

    left = context.remaining()
    patience = PATIENCE if left is None else max(0.1, min(PATIENCE, left))
    return Client(
        auth=account.token.get_secret_value(),
        base_url=account.url,
        notion_version=VERSION,
        timeout_ms=int(patience * 1000),
        logger=_LOGGER,
        log_level=logging.CRITICAL,  # what fails is raised, and told by the step
    )


@contextlib.contextmanager
def calling(doing: str, missing: str = "PageNotFound") -> Iterator[None]:
    """Turns the errors of the client into StepErrors. ``missing``: the name of "not found"."""
    import httpx
    from notion_client.errors import NotionClientErrorBase

    try:
        yield
    except httpx.HTTPError as exc:
        raise _away(doing, f"{type(exc).__name__}: {exc}") from None
    except NotionClientErrorBase as exc:
        raise _named(doing, missing, exc) from None


def _named(doing: str, missing: str, exc: Exception) -> StepError:
    code = getattr(exc, "code", "")
    code = str(getattr(code, "value", code))
    said = f"Notion will not {doing}: {exc}"
    if code == "unauthorized":
        return StepError(
            "NotionRefused",
            "Notion does not know the token of this worker",
            hint="set ORCH_NOTION_TOKEN to the secret of an integration; without it, pages and "
            "databases are kept in files",
            error_class="permanent",
        )
    if code == "restricted_resource":
        hint = "give the integration the capability in Notion"
        return StepError("NotionRefused", said, hint=hint, error_class="permanent")
    if code == "object_not_found":
        return StepError(
            missing, said, hint="check the id, and that the page is shared with the integration"
        )
    if code in ("validation_error", "invalid_json", "invalid_request", "invalid_request_url"):
        return StepError("InvalidInput", said)
    if code == "notionhq_client_invalid_path_parameter":
        return StepError("InvalidInput", said)
    if code == "conflict_error":
        return StepError("Conflict", said)
    if code == "rate_limited":
        return StepError("RateLimited", said)
    return _away(doing, str(exc))


def _away(doing: str, reason: str) -> StepError:
    return StepError(
        "NotionUnavailable", f"Notion did not {doing}: {reason}", error_class="transient"
    )


def gathered(
    ask: Callable[..., Any], limit: int = MOST, cursor: str | None = None, **given: Any
) -> tuple[list[dict[str, Any]], str | None]:
    """Results of as many answers as it takes, and where the next ones begin."""
    found: list[dict[str, Any]] = []
    while True:
        more = {"start_cursor": cursor} if cursor else {}
        answer = ask(page_size=min(AT_ONCE, limit - len(found)), **more, **given)
        found += answer.get("results") or []
        cursor = answer.get("next_cursor") if answer.get("has_more") else None
        if cursor is None or len(found) >= limit:
            return found[:limit], cursor
