"""Lua scripts of the journal: one file per transition, called by keyword.

The comment header of each ``lua/*.lua`` file is its signature: every ``-- KEYS name …`` and
``-- ARGV name type …`` line becomes a Lua local and a required keyword argument, so that the
script, its documentation and its caller cannot drift apart silently. Types are ``int``,
``str`` and ``list`` (packed with MessagePack of the kind that does not tell bytes from texts, as
Lua does not); a script may have one key of type ``MANY``, which stands for all of its keys.
``-- USES part …`` brings in functions that several scripts share, from ``lua/parts``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import msgpack
from redis import Redis
from redis.exceptions import NoScriptError

from orch.journal.wire import Command, Wire, as_sent

_PARAMETER = re.compile(r"^-- (KEYS|ARGV)\s+(\w+)\s+(\w+)", re.MULTILINE)
_USES = re.compile(r"^-- USES\s+(.+)$", re.MULTILINE)
_LUA = {
    "int": "local {name} = tonumber(ARGV[{i}]);",
    "str": "local {name} = ARGV[{i}];",
    "list": "local {name} = cmsgpack.unpack(ARGV[{i}]);",
}


_EMPTY = msgpack.packb([])

Behind = Sequence[Command]
"""Commands that go with a script, in the same write."""


@dataclass
class Beside:
    """A command that only reads, and goes with a script. ``answer``: None before it is known."""

    command: Command
    answer: Any = None


def flat(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    """Names and values as scripts take them: one after the other."""
    return [part for pair in pairs for part in pair]


class Script:
    """One atomic transition, as stored in ``lua/<name>.lua``."""

    def __init__(self, name: str, source: str, parts: Mapping[str, str] | None = None) -> None:
        parameters = _PARAMETER.findall(source)
        self.name = name
        self.keys = [param for kind, param, _ in parameters if kind == "KEYS"]
        self.many = [p for kind, p, type_ in parameters if kind == "KEYS" and type_ == "MANY"]
        self.args = {param: type_ for kind, param, type_ in parameters if kind == "ARGV"}
        self._names = {*self.keys, *self.args}
        if not self.keys:
            raise ValueError(f"{name}.lua declares no KEYS, so it cannot run on a cluster")
        if unknown := set(self.args.values()) - set(_LUA):
            raise ValueError(f"{name}.lua has arguments of unknown type: {sorted(unknown)}")
        # On the line of the first comment: Redis then reports the file's own line numbers.
        self.lua = f"{self._locals()} {_used(name, source, parts or {})} {source}"
        self.sha = hashlib.sha1(self.lua.encode()).hexdigest()

    def __call__(self, redis: Redis | Wire, **given: Any) -> Any:
        """Run it. Raises TypeError when the arguments are not those of the header."""
        keys, argv = self.pack(given)
        try:
            return redis.execute_command("EVALSHA", self.sha, len(keys), *keys, *argv)
        except NoScriptError:
            return redis.execute_command("EVAL", self.lua, len(keys), *keys, *argv)

    def command(self, given: dict[str, Any]) -> Command:
        """What runs it, where Redis knows it already."""
        keys, argv = self.pack(given)
        return "EVALSHA", self.sha, len(keys), *keys, *argv

    def pack(self, given: dict[str, Any]) -> tuple[list[str], list[Any]]:
        if given.keys() != self._names:
            raise TypeError(
                f"{self.name} takes {sorted([*self.keys, *self.args])}, got {sorted(given)}"
            )
        keys: list[str] = []
        for name in self.keys:
            keys += given[name] if name in self.many else [given[name]]
        argv = [
            (_pack(given[name]) if given[name] else _EMPTY) if type_ == "list" else given[name]
            for name, type_ in self.args.items()
        ]
        return keys, argv

    def _locals(self) -> str:
        lines = [
            f"local {name} = KEYS;" if name in self.many else f"local {name} = KEYS[{i}];"
            for i, name in enumerate(self.keys, 1)
        ]
        lines += [
            _LUA[type_].format(name=name, i=i)
            for i, (name, type_) in enumerate(self.args.items(), 1)
        ]
        return " ".join(lines)


class Form:
    """A script that is run with the same keys and first arguments again and again: these are
    written once.

    ``first``: the names of those arguments, which are the first ones of its header.
    """

    def __init__(self, script: Script, *first: str) -> None:
        names = list(script.args)
        if not first or names[: len(first)] != list(first):
            raise TypeError(f"the first arguments of {script.name} are {names}, not {list(first)}")
        self.script = script
        self._first = first
        self._rest = [(name, script.args[name] == "list") for name in names[len(first) :]]
        self._names = {name for name, _ in self._rest}
        self._head = len(_count(len(self._rest)))

    def begin(self, keys: Mapping[str, str], **first: str | int) -> bytes:
        """What is the same, as Redis reads it. Raises KeyError where something is missing."""
        script = self.script
        given = ["EVALSHA", script.sha, len(script.keys), *(keys[name] for name in script.keys)]
        given += [first[name] for name in self._first]
        written = as_sent(given)
        return _count(len(given) + len(self._rest)) + written[len(_count(len(given))) :]

    def command(self, begun: bytes, **rest: Any) -> bytes:
        """The whole of it. Raises TypeError where the other arguments are not these."""
        if rest.keys() != self._names:
            raise TypeError(f"{self.script.name} takes {sorted(self._names)}, got {sorted(rest)}")
        parts = [
            (_pack(rest[name]) if rest[name] else _EMPTY) if is_list else rest[name]
            for name, is_list in self._rest
        ]
        return begun + as_sent(parts)[self._head :]


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def _count(parts: int) -> bytes:
    """How a command of so many parts begins."""
    return b"*%d\r\n" % parts


def _used(name: str, source: str, parts: Mapping[str, str]) -> str:
    """The parts that a script names in `-- USES`, on one line."""
    named = [part for line in _USES.findall(source) for part in line.split()]
    if unknown := [part for part in named if part not in parts]:
        raise ValueError(f"{name}.lua uses {', '.join(unknown)}, which is no part in lua/parts")
    return " ".join(parts[part] for part in named)


def _read_parts(folder: Traversable) -> dict[str, str]:
    """The functions that several scripts share, without comments, each on one line."""
    return {
        entry.name.removesuffix(".lua"): " ".join(
            line.strip()
            for line in entry.read_text(encoding="utf-8").splitlines()
            if not line.strip().startswith("--")
        )
        for entry in folder.iterdir()
    }


@cache
def load() -> dict[str, Script]:
    """All scripts of the package, by name."""
    folder = resources.files("orch.journal") / "lua"
    parts = _read_parts(folder / "parts")
    return {
        entry.name.removesuffix(".lua"): Script(
            entry.name.removesuffix(".lua"), entry.read_text(encoding="utf-8"), parts
        )
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }
