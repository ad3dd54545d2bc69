"""The header of a script is its signature."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import pytest
from redis import Redis

from orch.journal.scripts import Form, Script, load
from orch.journal.wire import Wire, as_sent

SCRIPTS = sorted(load())
EXAMPLE = """-- example.lua: what it does.
--
-- KEYS  one    STRING  a key
-- ARGV  count  int     a number
-- ARGV  text   str     a text
-- ARGV  many   list    texts
--
-- Reply  {count + 1, text, many[2]}

return {count + 1, text, many[2], redis.call('EXISTS', one)}
"""


def source(name: str) -> str:
    return (resources.files("orch.journal") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def test_arguments_arrive_by_name_and_in_their_type(redis: Redis) -> None:
    script = Script("example", EXAMPLE)
    reply = script(redis, one="k", count=41, text="ü", many=["", "\x00\u2028"])
    assert reply == [42, "ü", "\x00\u2028", 0]


def test_arguments_that_stay_the_same_are_written_once(redis: Redis) -> None:
    script = Script("example", EXAMPLE)
    redis.script_load(script.lua)
    form, wire = Form(script, "count"), Wire(redis)
    begun = form.begin({"one": "k"}, count=41)
    for text, many in (("ü", ["", "\x00\u2028"]), ("", ["x" * 5000] * 20)):
        command = form.command(begun, text=text, many=many)
        assert command == as_sent(
            script.command({"one": "k", "count": 41, "text": text, "many": many})
        )
        assert wire.execute_first(command) == [42, text, many[1], 0]


def test_a_form_has_the_first_arguments_of_its_script() -> None:
    script = Script("example", EXAMPLE)
    for first in ((), ("text",), ("count", "many"), ("count", "text", "many", "more")):
        with pytest.raises(TypeError, match="the first arguments of example are"):
            Form(script, *first)
    for given in ({"text": "a"}, {"text": "a", "many": [], "more": 1}):
        with pytest.raises(TypeError, match=r"example takes \['many', 'text'\], got"):
            Form(script, "count").command(b"", **given)


@pytest.mark.parametrize("parts", [("GET", "ü"), ("SET", b"\xff\x00", 17), ("", "x" * 70_000)])
def test_a_command_is_written_alike_with_and_without_hiredis(
    parts: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = as_sent(parts)
    monkeypatch.setattr("orch.journal.wire.pack_command", None)
    assert as_sent(parts) == written


def test_a_script_that_the_server_forgot_is_sent_again(redis: Redis) -> None:
    script = Script("example", EXAMPLE)
    for _ in range(2):
        redis.script_flush()
        assert script(redis, one="k", count=1, text="", many=["a", "b"])[0] == 2


@pytest.mark.parametrize("wrong", [{"text": None}, {"unknown": 1}])
def test_arguments_that_are_not_in_the_header_are_refused(
    redis: Redis, wrong: dict[str, object]
) -> None:
    given = {"one": "k", "count": 1, "text": "", "many": [], **wrong}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(TypeError, match="example takes"):
        Script("example", EXAMPLE)(redis, **given)


def test_a_script_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="declares no KEYS"):
        Script("example", EXAMPLE.replace("-- KEYS", "--"))


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown type"):
        Script("example", EXAMPLE.replace("int  ", "float"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_does_takes_and_replies(name: str) -> None:
    lines = source(name).splitlines()
    header = [line for line in lines if line.startswith("--")]
    assert lines[0].startswith(f"-- {name}.lua: ")
    assert any(line.startswith("-- Reply  ") for line in header)
    assert all(len(line) <= 100 for line in lines)
    body = [line for line in lines if line.strip() and not line.lstrip().startswith("--")]
    assert 5 <= len(body) <= 120


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_builds_keys_or_scans(name: str) -> None:
    body = re.sub(r"--.*", "", source(name))
    assert not re.search(r"\b(KEYS|ARGV|SCAN|TIME|EXPIREAT)\b", body)
    calls = re.findall(r"redis\.call\('(\w+)', ([^,)]+)", body)
    assert calls
    assert {key for _, key in calls} <= {*load()[name].keys, "watch"}


@pytest.mark.parametrize(
    "entry", [e for e in (resources.files("orch.journal") / "lua/parts").iterdir() if e.is_file()],
    ids=lambda entry: entry.name,
)  # fmt: skip
def test_no_line_of_a_part_ends_in_a_comment(entry: Traversable) -> None:
    """A part is put on one line: the rest of it would be lost."""
    for line in entry.read_text(encoding="utf-8").splitlines():
        assert "--" not in line.lstrip().lstrip("-") or line.lstrip().startswith("--"), line


def test_a_part_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="uses nothing, which is no part"):
        Script("example", f"{EXAMPLE}\n-- USES nothing\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_argument_of_a_script_is_used(name: str) -> None:
    named = re.findall(r"^-- USES\s+(.+)$", source(name), re.MULTILINE)
    parts = [source(f"parts/{part}") for line in named for part in line.split()]
    body = re.sub(r"--.*", "", "\n".join([*parts, source(name)]))
    for argument in (*load()[name].keys, *load()[name].args):
        assert re.search(rf"\b{argument}\b", body), argument
