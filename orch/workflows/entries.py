"""How an entry of the history is stored: packed, as there are two of them for each step.

A packed entry begins with a byte above 127, the number of its word. Six bytes are the instant,
big-endian; then comes the attempt in digits, unless it is 1, or 0 where there is no path; then
the path; and, behind a zero byte, the detail as JSON, or the one text that a detail of this word
nearly always is. A claim that a worker makes in the same script as the end of its step before, or
as another claim, is shorter still: no instant, which is that of the entry before it, and of the
worker only what stands behind the last `/`; the rest is that of the last claim of the path of the
entry before it.

What does not fit this form is JSON, ``[instant, word, path, attempt, detail]``; so is all that
was written before there was another form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import digits
from typing import Any

from orch.errors import JournalError
from orch.workflows.state import encode

Entry = tuple[int, str, str, int, dict[str, Any]]
"""Instant in ms, word, path, attempt, detail."""

CLAIMED, COMPLETED = "claimed", "completed"

WORDS = (
    CLAIMED,  # its number stands in tell.lua, too
    "started",
    "completed",
    "failed",
    "skipped",
    "cancelled",
    "retrying",
    "lost",
    "ended",
    "begun",
    "queued",
    "waiting",
    "listening",
    "emitting",
    "calling",
    "external",
    "forked",
    "mapping",
    "looping",
    "polled",
    "decided",
    "routed",
    "retried",
    "reported",
    "triggered",
    "not_triggered",
    "triggered_by",
    "skipped_by",
    "paused",
    "resumed",
    "branch_paused",
    "branch_resumed",
    "cancelling",
    "compensating",
    "handler_failed",
    "rerun_of",
    "forked_from",
    "released",
    "breaker_open",
    "escalated",
    "rung",
    "asked",
    "reminded",
    "overdue",
    "inbox",
    "ruled",
    "resolved",
    "fallback",
    "kept",
    "chosen",
    "used",
    "budget",
    "addressed",
    "limited",
    "granted",
)
"""A word's number is its place here, from 1: new ones go to the end."""

ON = 0x80
"""Begins a claim that stands behind the end of the same worker's step before."""

PLAIN = {CLAIMED: "worker", "ended": "status", "lost": "reason"}
"""Of which word a detail of this one field is stored as its text alone."""

LATEST = 1 << 48
END = "\0"

INSTANT = 6
"""Bytes of the instant of a packed entry."""

_NUMBERS = {word: ON + number for number, word in enumerate(WORDS, 1)}
_ENDED, _CLAIMED, _SHORT = (bytes([n]) for n in (_NUMBERS[COMPLETED], _NUMBERS[CLAIMED], ON))


def pack(at: int, word: str, path: str, attempt: int, detail: Mapping[str, Any] | None) -> bytes:
    """One entry as it is stored."""
    number = _NUMBERS.get(word)
    fits = number is not None and 0 <= at < LATEST and attempt >= 0
    if not fits or END in path or path[:1].isdigit():
        return _plain(at, word, path, attempt, detail)
    told = path if attempt == _usual(path) else f"{attempt}{path}"
    if detail:
        told += END + _text_of(word, detail)
    try:
        return bytes([number or 0]) + at.to_bytes(INSTANT, "big") + told.encode()
    except UnicodeEncodeError:  # half of a letter, which only JSON can carry
        return _plain(at, word, path, attempt, detail)


def shortened(claim: bytes, owner: str, before: str) -> bytes:
    """A packed claim by ``owner`` as it is stored behind the end of what ``before`` held, in the
    same script; b"" where that was another process. As in tell.lua."""
    rest = _rest_of(owner, before)
    if claim[0] != _NUMBERS[CLAIMED] or rest is None:
        return b""
    return _SHORT + claim[1 + INSTANT : claim.index(0, 1 + INSTANT) + 1] + rest.encode()


def _rest_of(owner: str, before: str) -> str | None:
    """What stands behind the process in ``owner``; None: that of ``before`` is another one."""
    worker, slash, rest = owner.rpartition("/")
    same = slash and worker[:1] != "{" and worker == before.rpartition("/")[0]
    return rest if same else None


@dataclass(frozen=True)
class Passage:
    """How the end of a step's first attempt and the claim of the step behind it are stored, but for
    the instant and the worker: as `pack` and `shortened` do it. In pieces."""

    ended: bytes
    claimed: bytes

    def entries(self, at: int, owner: str, before: str) -> tuple[list[bytes], bytes] | None:
        """The two at one instant, and the second as it is stored behind the first; None: they take
        more than that. ``owner``: who has claimed; ``before``: whose attempt has ended."""
        rest = _rest_of(owner, before)
        if rest is None or not owner.isascii() or not 0 <= at < LATEST:
            return None
        instant = at.to_bytes(INSTANT, "big")
        ended = b"%b%b%b" % (_ENDED, instant, self.ended)
        claimed = b"%b%b%b%b" % (_CLAIMED, instant, self.claimed, owner.encode())
        return [ended, claimed], b"%b%b%b" % (_SHORT, self.claimed, rest.encode())


def passage(path: str, following: str) -> Passage | None:
    """From one step to the next; None: their entries are no packed ones."""
    ended, claimed = pack(0, COMPLETED, path, 1, None), pack(0, CLAIMED, following, 1, None)
    packed = ended[:1] == _ENDED and claimed[:1] == _CLAIMED
    if not path or not following or not packed:
        return None
    return Passage(ended[1 + INSTANT :], claimed[1 + INSTANT :] + END.encode())


def repack(text: str) -> bytes:
    """An entry that is given as JSON; what would come back as another one stays as it is."""
    found = json.loads(text)
    try:
        packed = pack(*found[:4], *(found[4:] or [None]))
    except (TypeError, AttributeError):
        return text.encode()
    return packed if as_json(next(unpack([packed]))) == found else text.encode()


def as_json(entry: Entry) -> list[Any]:
    """As it stands outside of Redis: without a detail that is empty."""
    return list(entry if entry[4] else entry[:4])


class Unpacker:
    """Reads one history, from its first entry on, piece by piece."""

    def __init__(self) -> None:
        self.at, self.path = 0, ""
        self.workers: dict[str, str] = {}

    def read(self, texts: Iterable[str | bytes]) -> Iterator[Entry]:
        """The entries that follow; a text holds its bytes as surrogates.

        Raises JournalError for one that a newer release has written.
        """
        for text in texts:
            raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            entry = self._claim(raw) if raw[0] == ON else _unpacked(raw)
            self.at, self.path = entry[0], entry[2]
            if entry[1] == CLAIMED and "worker" in entry[4]:
                self.workers[self.path] = str(entry[4]["worker"])
            yield entry

    def _claim(self, raw: bytes) -> Entry:
        attempt, path, rest = _parts(raw[1:])
        worker = self.workers.get(self.path, "").rpartition("/")[0]
        return self.at, CLAIMED, path, attempt, {"worker": f"{worker}/{rest}"}


def unpack(texts: Iterable[str | bytes]) -> Iterator[Entry]:
    """The entries of a whole history."""
    return Unpacker().read(texts)


def _unpacked(raw: bytes) -> Entry:
    if raw[0] < ON:
        at, word, path, attempt, *rest = json.loads(raw.decode("utf-8", "surrogateescape"))
        return at, word, path, attempt, rest[0] if rest else {}
    if raw[0] - ON > len(WORDS):
        raise JournalError(
            f"the history has an entry of a kind that this release does not know ({raw[0]})",
            hint="use the newer release that has written it",
        )
    word = WORDS[raw[0] - ON - 1]
    attempt, path, rest = _parts(raw[1 + INSTANT :])
    return int.from_bytes(raw[1 : 1 + INSTANT], "big"), word, path, attempt, _detail_of(word, rest)


def _parts(raw: bytes) -> tuple[int, str, str]:
    """Attempt, path, and the text behind them."""
    told, _, rest = raw.decode().partition(END)
    path = told.lstrip(digits)
    given = told[: len(told) - len(path)]
    return int(given) if given else _usual(path), path, rest


def _usual(path: str) -> int:
    return 1 if path else 0


def _text_of(word: str, detail: Mapping[str, Any]) -> str:
    field = PLAIN.get(word)
    only = detail.get(field) if field is not None and len(detail) == 1 else None
    return only if isinstance(only, str) and only[:1] not in ("", "{") else encode(detail)


def _detail_of(word: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    if text[0] == "{":
        return dict(json.loads(text))
    return {PLAIN[word]: text}


def _plain(at: int, word: str, path: str, attempt: int, detail: Mapping[str, Any] | None) -> bytes:
    values = [at, word, path, attempt, detail]
    return encode(values if detail else values[:4]).encode()
