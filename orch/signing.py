"""Signatures of webhooks, as the Standard Webhooks specification has them (version 1.0.0).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac

SECRET_PREFIX = "whsec_"


def signature(secret: str, id: str, timestamp: int, body: str) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. ``timestamp``: s.

    ``secret``: `whsec_` and base64; any other text is the key itself. Raises ValueError.
    """
    content = f"{id}.{timestamp}.{body}".encode()
    digest = hmac.digest(key_of(secret), content, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def key_of(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError(f"what follows `{SECRET_PREFIX}` is no base64") from exc
