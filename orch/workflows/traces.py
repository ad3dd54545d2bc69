"""What identifies the spans of an execution: worked out of its id, so that nobody has to tell.

Any process, and any attempt behind any crash, comes to the same trace: its id is a hash of the
execution's, unless whoever started it gave a context of his own. Texts are as in W3C Trace
Context, https://www.w3.org/TR/trace-context/#traceparent-header.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

TRACE_FIELD = "traceparent"
"""Of the record: the context that an execution was started with; its parent's, or a caller's."""

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace. ``trace``: 128 bits, ``span``: 64; ``sampled``: whether it is kept."""

    trace: int
    span: int
    sampled: bool = True

    @property
    def header(self) -> str:
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.sampled):02x}"

    @classmethod
    def of(cls, header: str) -> TraceContext | None:
        """That of a `traceparent`; None for what is none."""
        found = _FORM.fullmatch(header)
        if found is None or (header[:2] == "00" and found[4]):
            return None
        trace, span = int(found[1], 16), int(found[2], 16)
        return cls(trace, span, bool(int(found[3], 16) & 1)) if trace and span else None


def trace_of(execution: str) -> int:
    """The trace of an execution that was started without a context."""
    return _hashed(16, "trace", execution)


def span_of_execution(execution: str) -> int:
    return _hashed(8, "execution", execution)


def span_of_attempt(execution: str, path: str, attempt: int) -> int:
    return _hashed(8, "attempt", execution, path, str(attempt))


def _hashed(size: int, *parts: str) -> int:
    # Of 2 ** 64 texts one would give 0, which no id may be.
    text = "\0".join(parts).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=size).digest(), "big") or 1
