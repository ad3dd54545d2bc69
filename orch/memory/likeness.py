"""When two records say the same. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_VARIES = re.compile(r"(?=[a-f-]*\d)[0-9a-f-]{8,}|\d+(?:\.\d+)?")


def shape_of(content: str) -> str:
    """A content without what varies: numbers, ids in hexadecimal, blanks, capital letters."""
    return " ".join(_VARIES.sub("#", content.casefold()).split())


def sameness(record: Mapping[str, Any], *, similar: bool = False) -> bytes:
    """A hash, equal for records that say the same, beside when, from where and with what data.

    ``record``: as it is stored. ``similar``: also where only numbers, ids and the like differ.
    """
    content = record["content"]
    told = (
        shape_of(content) if similar else content,
        record["agent_role"],
        sorted(record["tags"]),
        bool(record.get("private")),
        sorted(record.get("shared_with", ())),
    )
    return hashlib.blake2b(repr(told).encode(errors="surrogatepass"), digest_size=16).digest()
