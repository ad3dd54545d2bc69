"""Names in code, made of what people write."""

from __future__ import annotations

import hashlib
import keyword
import re
import unicodedata

_LONGEST = 32  # two of them, and what stands around them, fit into one line of an import


def words(text: str) -> list[str]:
    """The words of a text or of a name, in lower case: `LoginForm v2` has `login`, `form`, `v2`.

    Letters with accents lose them; what no name can hold is left out.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain)
    return [word.lower() for word in re.findall(r"[A-Za-z0-9]+", parted)]


def named(text: str, fallback: str) -> list[str]:
    """The words of a name that code can have: never none, not too many, a letter first.

    fallback  the first word where the text has none; a hash of the text makes it one of its own
    """
    found = words(text)
    if not found and text.strip():
        found = [fallback, hashlib.sha256(text.encode(errors="replace")).hexdigest()[:6]]
    found = found or [fallback]
    if found[0][0].isdigit():
        found = [fallback, *found]
    kept = found[:1]
    for word in found[1:]:
        if sum(map(len, kept)) + len(kept) + len(word) > _LONGEST:
            break
        kept.append(word)
    return [kept[0][:_LONGEST], *kept[1:]]


def snake(text: str, fallback: str = "part") -> str:
    """`user_authentication`: of modules, packages, functions. Never a keyword."""
    name = "_".join(named(text, fallback))
    return f"{name}_" if keyword.iskeyword(name) or keyword.issoftkeyword(name) else name


def pascal(text: str, fallback: str = "part") -> str:
    """`UserAuthentication`: of classes."""
    return "".join(word[:1].upper() + word[1:] for word in named(text, fallback))


def camel(text: str, fallback: str = "part") -> str:
    """`userAuthentication`: of functions in JavaScript."""
    whole = pascal(text, fallback)
    return whole[:1].lower() + whole[1:]


def kebab(text: str, fallback: str = "part") -> str:
    """`user-authentication`: of projects, files, classes of a style sheet."""
    return "-".join(named(text, fallback))


def title(text: str, fallback: str = "part") -> str:
    """`User authentication`: for people."""
    whole = " ".join(named(text, fallback))
    return whole[:1].upper() + whole[1:]


def line(text: str, longest: int = 70) -> str:
    """A text as one line that a docstring can hold: no quotes, no backslashes, not too long."""
    plain = " ".join(re.sub(r"[\"'`\\{}<>]|[^\x20-\x7e\u00a0-\uffff]", " ", text).split())
    if len(plain) <= longest:
        return plain.rstrip(" .,;:!?")
    return plain[:longest].rpartition(" ")[0].rstrip(" .,;:!?") or plain[:longest]
