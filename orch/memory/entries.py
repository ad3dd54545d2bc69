"""What a record of the memory is found by: the heads under which the index of its project has it.

An entry is ``head created id``: the head ends with a blank, `created` has 13 digits (ms), the id
ends the entry. All have score 0, so they lie in the order of their bytes: under each head the
records in the order of their time.

    *                    every record
    aESCALATION          its area
    gORCHESTRATOR        the role of the agent that wrote it
    sx1:deploy           what it tells of
    tworkflow%3Aorders   a tag
    wtimeout             a word of its text
    rn7                  the id of a record that it is related to
    p                    it is private
    vREVIEWER            and shared with this role
    d6                   its confidence is below 1: 0.6 or more, and below 0.7

Pure: what a record is found by follows from the record alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

DIGITS = 13

LONGEST = 100
"""Characters of a text in a head; the records tell longer ones apart."""

LONGEST_WORD = 40
MOST_WORDS = 200
"""Different words of a text, the first ones, by which it is found."""

EVERY, AREA, AGENT, SOURCE, TAG, WORD = "*", "a", "g", "s", "t", "w"
RELATED, PRIVATE, SHARED, DOUBT = "r", "p", "v", "d"

TENTHS = 10
"""Parts of a confidence that the index tells apart."""

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def head(letter: str, text: str = "") -> str:
    """Without the blank that ends it, so that it is also the beginning of longer ones."""
    return f"{letter}{quote(text[:LONGEST], safe='', errors='surrogatepass')}"


def text_of(head: str) -> str:
    """The text of a head, up to LONGEST characters of it."""
    return unquote(head[1:], errors="surrogatepass")


def place(created: int, id: str = "") -> str:
    """Where a record stands among others, by its time."""
    return f"{max(created, 0):0{DIGITS}d}{id}"


def place_in(entry: str) -> str:
    return entry.partition(" ")[2]


def id_in(place: str) -> str:
    return place[DIGITS:]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in small letters; of `TimeoutError` also `error`, since a word is
    found by its beginning, too."""
    found: dict[str, None] = {}
    for word in _WORD.findall(text):
        for each in (word, *_PART.findall(word)[1:]):
            found[each.casefold()[:LONGEST_WORD]] = None
            if len(found) == MOST_WORDS:
                return tuple(found)
    return tuple(found)


def words_asked(text: str) -> tuple[str, ...]:
    """The words that are sought: each is the beginning of a word, or a whole one."""
    return tuple({word.casefold()[:LONGEST_WORD]: None for word in _WORD.findall(text)})


def heads_of(record: Mapping[str, Any]) -> Iterator[str]:
    """``record``: as it is stored."""
    yield head(EVERY)
    yield head(AREA, record["area"])
    yield head(AGENT, record["agent_role"])
    for source in (record["source"], *record.get("sources", ())):
        if source:
            yield head(SOURCE, source)
    for tag in record["tags"]:
        yield head(TAG, tag)
    for word in words_of(told(record)):
        yield head(WORD, word)
    for id in record["related"]:
        yield head(RELATED, id)
    if record.get("private"):
        yield head(PRIVATE)
        for role in record.get("shared_with", ()):
            yield head(SHARED, role)
    if record["confidence"] < 1:
        yield doubt(tenth_of(record["confidence"]))


def tenth_of(confidence: float) -> int:
    """How many whole tenths a confidence has: 0.69 has 6."""
    return int(confidence * TENTHS)


def doubt(tenth: int) -> str:
    """The head of what has so many tenths, and less than all."""
    return head(DOUBT, str(tenth))


def entries_of(id: str, record: Mapping[str, Any]) -> list[str]:
    """All entries of a record."""
    found = place(record["created"], id)
    return [f"{each} {found}" for each in dict.fromkeys(heads_of(record))]


def told(record: Mapping[str, Any]) -> str:
    """The text of a record without the prefix."""
    content: str = record["content"]
    return content[len(f"ORCH:{record['area']}:") :]
