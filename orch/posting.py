"""Posts JSON to a URL: signed as the Standard Webhooks specification has it, once, in a time."""

from __future__ import annotations

import hashlib
import time

from orch.exchange import Answer, exchange
from orch.signing import signature

__all__ = ["Answer", "post"]

AGENT = "orch-webhook/1"


def post(
    url: str,
    id: str,
    body: str,
    *,
    timeout: float,
    secret: str | None = None,
    token: str | None = None,
    most: int = 0,
) -> Answer:
    """Any status is an answer; a redirect is not followed.

    ``id``: the same however often it is posted. ``timeout``: s, for all of it. ``secret``: the key
    of the signature; ``token``: sent as `Authorization: Bearer`. ``most``: bytes of the answer
    that are read. Raises OSError, HTTPException; ValueError for a secret that is none.
    """
    headers = _headers(id, body, secret, token)
    return exchange("POST", url, headers, body, timeout=timeout, most=most)


def _headers(id: str, body: str, secret: str | None, token: str | None) -> dict[str, str]:
    # An id may hold whatever a path does; a header, only what is visible ASCII.
    named = f"msg_{hashlib.sha256(id.encode()).hexdigest()[:32]}"
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "webhook-id": named,
        "webhook-timestamp": str(now),
    }
    if secret is not None:
        headers["webhook-signature"] = signature(secret, named, now, body)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers
