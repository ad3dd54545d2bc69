"""Entries of the history: packed in Redis, and the same for every reader; those of old, too."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from orch.control.lines import content_of, line_of
from orch.control.plans import Plans
from orch.control.status import execution_context
from orch.control.subscription import Subscription
from orch.errors import JournalError
from orch.journal.journal import Journal
from orch.journal.records import Follower
from orch.journal.scripts import Script
from orch.journal.snapshots import Snapshot
from orch.workflows.commit import Event
from orch.workflows.entries import (
    CLAIMED,
    COMPLETED,
    LATEST,
    ON,
    WORDS,
    as_json,
    pack,
    passage,
    repack,
    shortened,
    unpack,
)
from orch.workflows.handoff import make_handoff
from orch.workflows.outcome import Completed
from orch.workflows.state import encode
from tests.build import NOW, Worked, start, task

SOURCES = Path(__file__).parents[1] / "orch"
OLD = '[1795233549300,"claimed","s0",1,{"worker":"vm-26653-f6c7c2\\/26655\\/08c2"}]'

texts = st.text(max_size=20)
"""Also halves of letters, which are legal in JSON, and zero bytes."""

details = st.one_of(
    st.none(),
    st.dictionaries(texts, st.one_of(texts, st.integers(), st.none(), st.lists(texts))),
    st.builds(
        lambda name, text: {name: text}, st.sampled_from(["worker", "status", "reason"]), texts
    ),
)


def words_of_the_sources() -> set[str]:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py"))
    return set(re.findall(r'(?:\bEvent|\.note)\(\s*"(\w+)"', code))


def raw(journal: Journal) -> list[bytes]:
    found = journal.redis.lrange(journal.keys.history("x1"), 0, -1)
    return [text.encode("utf-8", "surrogateescape") for text in found]


workers = st.one_of(
    texts,
    st.from_regex(r"[a-z{/][a-z0-9-]{0,9}/\d{1,4}/[0-9a-f]{4}(-\w{8})?", fullmatch=True),
    st.just("vm-26653-f6c7c2/26655/08c2"),
)
paths = st.one_of(texts, st.from_regex(r"[a-z]\w*(\[\d+\]/\w+|#\d+)?", fullmatch=True))


@given(at=st.integers(-1, LATEST), path=paths, following=paths, owner=workers, before=workers)
@example(at=1, path="a", following="b", owner="vm/1/0a", before="vm/1/0b-12345678")
def test_from_one_step_to_the_next_the_entries_are_those_that_are_packed_one_by_one(
    at: int, path: str, following: str, owner: str, before: str
) -> None:
    known = passage(path, following)
    found = None if known is None else known.entries(at, owner, before)
    if found is None:
        return
    claim = pack(at, CLAIMED, following, 1, {"worker": owner})
    assert found == ([pack(at, COMPLETED, path, 1, None), claim], shortened(claim, owner, before))
    assert found[1]


def test_from_one_step_to_the_next_the_entries_are_known_but_in_odd_cases() -> None:
    known, own = passage("each[3]/a", "each[3]/b#2"), "vm-26653-f6c7c2/26655/08c2-0123abcd"
    assert known is not None
    assert known.entries(NOW, own, "vm-26653-f6c7c2/26655/08c1") is not None
    assert known.entries(NOW, own, "vm-26653-f6c7c2/26656/08c1") is None, "another process"
    assert known.entries(LATEST, own, own) is None
    assert known.entries(NOW, "{/1/2", "{/1/2") is None, "would be read as JSON"
    assert passage("", "b") is None and passage("a", "2b") is None and passage("a\0", "b") is None


@given(
    at=st.integers(-1, LATEST),
    word=st.one_of(st.sampled_from(WORDS), texts),
    path=st.one_of(texts, st.from_regex(r"[a-z]\w*(\[\d+\]/\w+|#\d+)?", fullmatch=True)),
    attempt=st.integers(0, 10**12),
    detail=details,
)
@example(at=0, word="started", path="", attempt=0, detail={"": "0"})
def test_every_entry_comes_back_as_it_was(
    at: int, word: str, path: str, attempt: int, detail: dict[str, Any] | None
) -> None:
    packed = pack(at, word, path, attempt, detail)
    expected = (at, word, path, attempt, detail or {})
    assert list(unpack([packed])) == [expected]
    as_redis_gives_it = packed.decode("utf-8", "surrogateescape")
    assert list(unpack([as_redis_gives_it])) == [expected]
    text = encode(as_json(expected))
    assert list(unpack([text])) == [expected]
    assert list(unpack([repack(text)])) == [expected]


def test_every_word_has_a_number_and_keeps_it() -> None:
    assert words_of_the_sources() <= set(WORDS)
    assert len(set(WORDS)) == len(WORDS) < 128
    assert (WORDS[0], WORDS[2], WORDS[8], WORDS[36]) == (
        "claimed", "completed", "ended", "forked_from",
    )  # fmt: skip


def test_what_is_usual_takes_few_bytes() -> None:
    assert len(Event("completed", "s0", 1).dumps(NOW)) == 9
    assert len(Event("ended", detail={"status": "completed"}).dumps(NOW)) == 17
    assert len(Event("claimed", "s0", 12, {"worker": "w/1/a"}).dumps(NOW)) == 17


@pytest.mark.parametrize("text", [OLD, "[1,2]", '{"a":1}', '[1.5,"ended","",0]', "[1,null,[],0]"])
def test_what_would_not_come_back_the_same_is_left_as_text(text: str) -> None:
    packed = repack(text)
    assert packed == text.encode() or as_json(next(unpack([packed]))) == json.loads(text)


def test_an_entry_of_a_newer_release_is_named() -> None:
    with pytest.raises(JournalError, match="a kind that this release does not know"):
        list(unpack([bytes([ON + len(WORDS) + 1]) + bytes(6)]))


def test_a_claim_that_follows_on_a_step_tells_only_what_is_new(journal: Journal) -> None:
    steps = {"items": "$.input", "maxConcurrency": 1, "steps": [task("a", "b"), task("b")]}
    worked = start(journal, {"id": "m", "type": "map", "map": steps}, input=[1, 2, 3])
    worked.do("m[0]/a")
    path, claimed = "m[0]/b", worked.take("m[0]/b", "vm-1-f00/2/aaaa")
    for number, owner in ((1, "vm-1-f00/2/bbbb-01234567"), (2, "vm-2-f00/2/cccc")):
        ended = worked.decide(path, claimed, Completed(None))
        assert ended.branch is not None
        reply = journal.settle(
            "x1", ended, expect="running", attempt=1, owner=claimed.state.owner,
            handoff=make_handoff(worked.plan, ended.branch, owner, 1000),
        )  # fmt: skip
        assert reply.handed is not None  # type: ignore[union-attr]
        assert reply.handed.state.owner == owner  # type: ignore[union-attr]
        worked.settle(f"m[{number}]/a", reply.handed, Completed(None))  # type: ignore[union-attr]
        path, claimed = f"m[{number}]/b", worked.take(f"m[{number}]/b", owner)
    short = [text for text in raw(journal) if text[0] == ON]
    assert short == [b"\x80m[1]/a\0bbbb-01234567"]
    told = {e.path: e for e in journal.history("x1") if e.event == "claimed"}
    assert told["m[1]/a"].detail == {"worker": "vm-1-f00/2/bbbb-01234567"}
    assert told["m[1]/a"].at == journal.clock()
    assert told["m[2]/a"].detail == {"worker": "vm-2-f00/2/cccc"}
    follower = Follower()
    pieces = [follower.add([text]) for text in journal.redis.lrange(
        journal.keys.history("x1"), 0, -1)]  # fmt: skip
    assert [entry for piece in pieces for entry in piece] == journal.history("x1")
    assert journal.news("x1", follower) == []


TELLING = """-- telling.lua: tells events, and nothing else.
--
-- KEYS  history  LIST    events
-- KEYS  stream   STREAM  those who listen
-- ARGV  now      int     the instant
-- ARGV  id       str     the execution
-- ARGV  parts    list    lists of texts, and a last one of {path, attempt, owner}, or {}
--
-- USES  hear tell
--
-- Reply  {}

for i = 1, #parts - 1 do
    tell(parts[i])
end
local claim = parts[#parts]
if claim[1] then
    tell_claim(claim[1], claim[2], claim[3])
end
return {}
"""
told_events = st.builds(
    Event,
    st.sampled_from(["claimed", "claimed", "completed", "lost"]),
    st.sampled_from(["", "a", "b[1]/c"]),
    st.integers(0, 2),
    st.sampled_from([None, {"worker": "w/1/a"}, {"worker": "w/1/b"}, {"worker": "w/2/c"},
                     {"worker": "odd"}, {"worker": "{w/1/a"}, {"worker": "w/1/a", "x": "/"},
                     {"reason": "/"}]),
    st.sampled_from([None, NOW, NOW - 1]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(told_events, max_size=4), max_size=4),
    st.sampled_from([(), ("d", 1, "w/1/d"), ("d", 3, "w/2/d")]),
)
def test_whatever_scripts_tell_is_read_as_it_was(
    redis: Redis, batches: list[list[Event]], claim: tuple[str, int, str]
) -> None:
    redis.delete("h", "s")
    telling = Script("telling", TELLING, {name: load_part(name) for name in ("hear", "tell")})
    events = [event for batch in batches for event in batch]
    for _ in range(2):  # each history goes on with what another script tells
        texts = [[event.dumps(NOW) for event in batch] for batch in batches]
        telling(redis, history="h", stream="s", now=NOW, id="x", parts=[*texts, claim])
    if claim:
        events.append(Event("claimed", claim[0], claim[1], {"worker": claim[2]}))
    assert list(unpack(redis.lrange("h", 0, -1))) == 2 * [
        (NOW if e.at is None else e.at, e.word, e.path, e.attempt, dict(e.detail or {}))
        for e in events
    ]


def load_part(name: str) -> str:
    lines = (SOURCES / f"journal/lua/parts/{name}.lua").read_text(encoding="utf-8").splitlines()
    return " ".join(line for line in lines if not line.lstrip().startswith("--"))


def test_claims_of_one_script_name_their_worker_once(journal: Journal, redis: Redis) -> None:
    """By the same worker at the same instant; the stream has each of them whole."""
    worked = start(journal, task("a"))
    owners = ["vm-1-f00/2/aaaa", "vm-1-f00/2/bbbb", "vm-1-f00/3/cccc", "vm-1-f00/3/dddd"]
    claims = [Event("claimed", f"s{n}", n, {"worker": owner}) for n, owner in enumerate(owners, 1)]
    claims.append(Event("claimed", "s5", 1, {"worker": owners[3]}, at=NOW + 1))
    odd = [Event("claimed", f"s{n}", 1, {"worker": "{a/b"} if n < 8 else None) for n in (6, 7, 8)]
    events = (Event("routed"), *claims, *odd, Event("lost", "s5", 1, {"reason": "gone"}))
    subscription = Subscription(journal, follow=False)
    claimed = worked.take("a")
    done = worked.decide("a", claimed, Completed(None))
    worked.commit(claimed, replace(done, events=events))
    full, heads = ON + 1, [text[0] for text in raw(journal)[2:]]
    assert heads[1:-1] == [full, ON, full, ON, full, full, full, full]
    told = journal.history("x1")[2:]
    assert [(e.event, e.path, e.attempt, e.detail) for e in told] == [
        (e.word, e.path, e.attempt, dict(e.detail or {})) for e in events
    ]
    assert [e.at - NOW for e in told] == [0] * 5 + [1] + [0] * 4
    heard = [(e.event, e.path, e.attempt, e.detail, e.at) for e in subscription]
    assert heard[1:] == [(e.event, e.path, e.attempt, e.detail, e.at) for e in told]


def told_by(journal: Journal) -> list[Any]:
    """What readers say of an execution: its history, status, and line in an archive."""
    snapshot = journal.snapshot("x1")
    assert snapshot is not None
    line = json.loads(line_of(snapshot))
    return [journal.history("x1"), list(journal.histories(["x1"])), line["history"]]


def in_the_old_form(worked: Worked) -> None:
    """As the release before wrote it, with cjson's way to write `/`."""
    journal = worked.journal
    key = journal.keys.history("x1")
    lines = [encode(as_json(e)).replace("/", "\\/") for e in unpack(raw(journal))]
    journal.redis.delete(key)
    journal.redis.rpush(key, *lines)


def test_what_an_older_release_wrote_is_read_and_goes_on(journal: Journal) -> None:
    worked = start(journal, task("a", "b"), task("b", "c"), task("c"))
    worked.do("a")
    claimed = worked.take("b", "vm-26653-f6c7c2/26655/08c2")
    before = told_by(journal)
    in_the_old_form(worked)
    assert raw(journal)[0].startswith(b"[")
    assert told_by(journal) == before
    worked.settle("b", claimed, Completed(None))
    worked.do("c")
    assert [text[:1] == b"[" for text in raw(journal)].count(True) == len(before[0])
    assert journal.history("x1")[: len(before[0])] == before[0]
    assert worked.events()[-1] == ("ended", "")
    steps = execution_context(journal, Plans(journal), "x1").steps
    assert [step.worker for step in steps] == ["me", "vm-26653-f6c7c2", "me"]


def test_an_archive_holds_entries_in_words_and_they_are_packed_again(journal: Journal) -> None:
    worked = start(journal, task("a"))
    worked.fail("a")
    snapshot, before, stored = journal.snapshot("x1"), journal.history("x1"), raw(journal)
    assert snapshot is not None
    line = line_of(snapshot)
    assert json.loads(line)["history"][1] == [
        journal.clock(), "claimed", "a", 1, {"worker": "me/1/a"},
    ]  # fmt: skip
    assert journal.forget(snapshot)
    back = content_of(line.encode())
    assert isinstance(back, Snapshot) and journal.restore(back)
    assert journal.history("x1") == before
    assert raw(journal) == stored
