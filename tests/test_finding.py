"""Executions are found by what they are, page by page; nothing is left of those that are gone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from bench.find import Pipelined, definition, fill
from orch.asynchronous import AsyncOrchestrator
from orch.cli.app import run_command
from orch.control.filters import Filters
from orch.control.plans import Plans
from orch.control.search import ExecutionPage, Search
from orch.control.starting import make_start
from orch.embedded import ephemeral
from orch.errors import InputError, LayoutMismatch
from orch.journal import heads
from orch.journal.finding import Found, Query
from orch.journal.journal import Journal, open_redis
from orch.orchestrator import Orchestrator
from orch.settings import Settings
from orch.workflows.outcome import Completed
from orch.workflows.reopening import Reopening
from orch.workflows.state import ExecutionStatus
from tests.build import FakeClock, Worked, start, task

COUNT = 5000


def entries(journal: Journal) -> set[str]:
    """All that the indexes hold."""
    keys = (journal.keys.index(n) for n in range(journal.keys.partitions))
    return {member for key in keys for member in journal.redis.zrange(key, 0, -1)}


def expected(journal: Journal) -> set[str]:
    """All that they must hold, by the records."""
    found: set[str] = set()
    for key in journal.redis.scan_iter(match="*:x:*"):
        record = journal.redis.hgetall(key)
        found.update(heads.members_of(key.partition("}:x:")[2], record))
    return found


class TestTheIndex:
    def test_it_follows_every_change_of_status(self, journal: Journal, clock: FakeClock) -> None:
        one = start(journal, task("a", "b"), task("b"))
        steps: list[Callable[[], Any]] = [
            lambda: journal.pause("x1", {}),
            lambda: journal.resume("x1", {}, {}),
            lambda: one.do("a"),
            lambda: one.fail("b", "Odd=ü % \ud800" + "y" * 200),
            lambda: journal.retry("x1", Reopening(), error="Odd=ü % \ud800" + "y" * 200),
            lambda: journal.pause("x1", {}),
            lambda: journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"}),
        ]
        seen = [journal.status("x1")]
        for step in steps:
            clock.advance(1)
            step()
            seen.append(journal.status("x1"))
            assert entries(journal) == expected(journal) != set()
        words = "running paused running running failed running paused cancelled"
        assert [str(status) for status in seen] == words.split()

    def test_one_that_ends_in_its_start_is_found_by_its_end(self, journal: Journal) -> None:
        start(journal, task("a", condition="false"))
        found, _ = journal.find(Query(statuses=("completed",)), 5)
        assert [one.id for one in found] == ["x1"]
        assert entries(journal) == expected(journal)

    def test_names_of_any_kind_are_told_apart(self, journal: Journal) -> None:
        names = ["a", "a b", "a%20b", "ä", "a ", "running", "w a", "a=b", "x" * 300]
        plan = start(journal, task("a")).plan
        for number, name in enumerate(names):
            made = make_start(journal, plan, name, f"n{number}", "null")
            made.attributes.update({name: name})  # type: ignore[attr-defined]
            assert journal.start(made)
        for number, name in enumerate(names):
            for query in (Query(kinds=((name, None),)), Query(attributes={name: name})):
                assert [one.id for one in journal.find(query, 50)[0]] == [f"n{number}"], name
        assert {name for name, _ in journal.kinds()} == {*names, "w"}

    def test_nothing_is_left_of_what_has_expired(
        self, redis: Redis, journal: Journal, clock: FakeClock
    ) -> None:
        pipelined = Pipelined(redis, journal.settings)
        fill(pipelined, Plans(pipelined), 1500, 3)
        clock.now = pipelined.now
        there = entries(journal)
        redis.delete(*redis.scan_iter(match="*:[xsih]:*"))
        assert journal.forget_expired() == 0
        clock.advance(journal.keep + 1)
        assert sum(journal.forget_expired() for _ in range(3)) == len(there)
        assert entries(journal) == set()

    def test_a_sweep_leaves_those_that_are_there(self, redis: Redis, journal: Journal) -> None:
        pipelined = Pipelined(redis, journal.settings)
        fill(pipelined, Plans(pipelined), 300, 3)
        swept = Journal(redis, journal.settings, clock=lambda: 2 * pipelined.now)
        assert swept.forget_expired() == 0
        assert not swept.is_sweeping
        assert entries(journal) == expected(journal)

    def test_a_sweep_goes_on_until_all_was_seen(
        self, redis: Redis, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipelined = Pipelined(redis, journal.settings)
        fill(pipelined, Plans(pipelined), 300, 3)
        fullest = max(redis.zcard(index) for index in redis.scan_iter(match="*:index"))
        monkeypatch.setattr("orch.journal.indexing.SWEPT", 5)
        pieces = 0
        while pieces == 0 or journal.is_sweeping:
            assert journal.forget_expired() == 0
            pieces += 1
        assert pieces == fullest // 5 + 1

    def test_a_page_drops_what_is_gone(self, journal: Journal, clock: FakeClock) -> None:
        one = start(journal, task("a"))
        journal.redis.delete(*journal.redis.scan_iter(match="*:[xsih]:x1"))
        assert journal.find(Query(), 5) == ([], "")
        assert {e[0] for e in entries(journal)} == {"w"}  # the walk was along the statuses
        assert one.plan.version

    def test_an_older_layout_is_refused_and_brought_up(
        self, redis: Redis, journal: Journal, settings: Settings, capsys: Any
    ) -> None:
        journal.check()
        pipelined = Pipelined(redis, journal.settings)
        fill(pipelined, Plans(pipelined), 100, 3)
        before = entries(journal)
        for n in range(64):
            redis.delete(journal.keys.index(n))
        index = journal.keys.index(journal.keys.partition("0" * 16))
        redis.zadd(index, {"0" * 16: 5.0, f"spaused {heads.instant(1)}gone": 0})
        redis.hdel(journal.keys.meta(), "layout")
        redis.delete(journal.keys.kinds())
        with pytest.raises(LayoutMismatch, match="layout 1, and this one") as caught:
            journal.check()
        assert caught.value.hint == "end all workers, then `orch reindex`"
        url = settings.redis_url or ""
        assert run_command(["list", "--redis", url]) == 4
        assert run_command(["reindex", "--redis", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"executions": 100}
        journal.check()
        assert entries(journal) == before
        assert len(journal.kinds()) == len(pipelined.kinds())
        redis.hset(journal.keys.meta(), "layout", 3)
        with pytest.raises(LayoutMismatch) as caught:
            journal.check()
        assert "use the newer release" in caught.value.hint


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Journal, Search, list[Found]]]:
    """A journal with 5,000 executions, a search in it, and all of them, newest first."""
    with ephemeral(timeout=30) as server:
        client = open_redis(server.url)
        journal = Pipelined(client, Settings(redis_url=server.url))
        plans = Plans(journal)
        fill(journal, plans, COUNT, 8)
        everything, cursor = journal.find(Query(), COUNT + 1)
        assert len(everything) == COUNT and not cursor
        yield journal, Search(journal, plans), everything
        client.close()


FILTERS: dict[str, tuple[Filters, Callable[[Found], bool]]] = {
    "status": ({"status": "failed"}, lambda f: f.status == "failed"),
    "several": (
        {"status": ["running", "paused"]},
        lambda f: f.status in ("running", "paused"),
    ),
    "workflow": ({"workflow": "w3"}, lambda f: f.workflow == "w3"),
    "tag": ({"tag": "tag_w3"}, lambda f: f.workflow == "w3"),
    "capability": ({"capability": "cap_w2"}, lambda f: f.workflow == "w2"),
    "version": (
        {"version": definition("w0", 1, "$.input.go").content_hash()},
        lambda f: f.version == definition("w0", 1, "$.input.go").content_hash(),
    ),
    "attribute": (
        {"attribute": {"customer": "c7"}},
        lambda f: f.attributes.get("customer") == "c7",
    ),
    "truth": ({"attribute": {"paid": "true"}}, lambda f: f.attributes.get("paid") is True),
    "error": ({"error": "Poison"}, lambda f: f.error == "Poison"),
    "parent": ({"parent": f"{100:016x}"}, lambda f: f.parent == f"{100:016x}"),
    "workflow and status": (
        {"workflow": "w0", "status": "running"},
        lambda f: (f.workflow, f.status) == ("w0", "running"),
    ),
    "many": (
        {"workflow": "w0", "error": "Poison", "attribute": {"paid": True}, "status": "failed"},
        lambda f: (f.workflow, f.error, f.attributes.get("paid")) == ("w0", "Poison", True),
    ),
    "tag and error": (
        {"tag": "v2", "error": "Cancelled"},
        lambda f: (
            f.error == "Cancelled"
            and f.version in {definition(f"w{n}", 2, "$.input.go").content_hash() for n in range(8)}
        ),
    ),
    "nothing": ({"capability": "nobody"}, lambda f: False),
}


def all_pages(search: Search, filters: Filters, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = search.page(limit, cursor, filters)
        found += [info.id for info in page]
        assert len(page) <= limit
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(page) == limit


class TestPages:
    @pytest.mark.parametrize("name", FILTERS)
    def test_they_hold_all_that_are_meant_newest_first(self, filled: Any, name: str) -> None:
        _, search, everything = filled
        filters, meant = FILTERS[name]
        wanted = [one.id for one in everything if meant(one)]
        assert wanted or name == "nothing"
        assert all_pages(search, filters, max(1, len(wanted) // 3)) == wanted
        assert search.ids(filters) == wanted

    def test_all_are_in_the_order_of_their_start(self, filled: Any) -> None:
        _, search, everything = filled
        order = [(one.created, one.id) for one in everything]
        assert order == sorted(order, reverse=True) and len(set(order)) == COUNT
        assert all_pages(search, {}, 617) == [one.id for one in everything]

    def test_times_bound_them(self, filled: Any) -> None:
        _, search, everything = filled
        since, until = everything[900].created, everything[100].created
        wanted = [one.id for one in everything if since <= one.created < until]
        assert 700 < len(wanted) < 900
        for word in (lambda ms: ms, lambda ms: datetime.fromtimestamp(ms / 1000, UTC)):
            assert search.ids({"since": word(since), "until": word(until)}) == wanted
        text = datetime.fromtimestamp(since / 1000, UTC).isoformat()
        assert search.ids({"since": text})[-1] == everything[900].id
        ago = timedelta(milliseconds=search.journal.clock() - since)
        assert search.ids({"since": ago})[-1] == everything[900].id

    @pytest.mark.parametrize("name", ["workflow and status", *FILTERS])
    def test_a_page_costs_as_much_as_it_holds(self, filled: Any, name: str) -> None:
        """Commands for a page of 20, those within scripts among them."""
        journal, search, _ = filled
        search.page(20, None, FILTERS[name][0])  # definitions are read once
        journal.redis.config_resetstat()
        search.page(20, None, FILTERS[name][0])
        counted = {
            command.removeprefix("cmdstat_"): int(told["calls"])
            for command, told in journal.redis.info("commandstats").items()
        }
        counted.pop("config|resetstat", None)
        assert not {"keys", "scan", "hgetall", "zscan"} & set(counted)
        assert counted.get("evalsha", 0) <= 64 * (5 if name in ("many", "tag and error") else 2)
        assert counted.get("hmget", 0) <= 150
        assert sum(counted.values()) <= 64 * 35

    def test_new_starts_do_not_move_them(self, journal: Journal, clock: FakeClock) -> None:
        one = start(journal, task("a"))
        search = Search(journal, Plans(journal))
        plan = one.plan

        def begin(name: str) -> None:
            clock.advance(1)
            assert journal.start(make_start(journal, plan, "w", name, "null"))

        for n in range(2, 8):
            begin(f"x{n}")
        page = search.page(3, None, {})
        assert [info.id for info in page] == ["x7", "x6", "x5"]
        begin("x8")
        journal.end("x4", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
        following = search.page(3, page.cursor, {})
        assert [info.id for info in following] == ["x4", "x3", "x2"]
        last = search.page(3, following.cursor, {})
        assert [info.id for info in last] == ["x1"] and last.cursor is None

    def test_executions_of_one_instant_are_all_there(self, journal: Journal) -> None:
        plan = start(journal, task("a")).plan
        names = [f"n{n:03d}" for n in range(200)]
        for name in random.Random(3).sample(names, 200):
            journal.start(make_start(journal, plan, "w", name, "null"))
        found = all_pages(Search(journal, Plans(journal)), {}, 7)
        assert found == ["x1", *sorted(names, reverse=True)]

    @pytest.mark.parametrize(
        ("filters", "sentence"),
        [
            ({"status": "done"}, "'done' is no status of an execution"),
            ({"since": "yesterday"}, "'since': 'yesterday' is no instant"),
            ({"since": datetime(2026, 1, 1)}, "has no time zone"),
            ({"attribute": {"a": None}}, "attribute 'a' is a text"),
            ({"owner": "ada"}, "cannot be found by owner"),
        ],
    )
    def test_what_cannot_be_asked_is_said(
        self, journal: Journal, filters: Any, sentence: str
    ) -> None:
        with pytest.raises(InputError, match=sentence):
            Search(journal, Plans(journal)).page(5, None, filters)

    @pytest.mark.parametrize("cursor", ["x", "%%%", "ää", "MTIz", "-" * 50])
    def test_a_cursor_of_somebody_else_is_refused(self, journal: Journal, cursor: str) -> None:
        with pytest.raises(InputError, match="is no cursor of a list"):
            Search(journal, Plans(journal)).page(5, cursor, {})
        with pytest.raises(InputError, match="a page of 0 executions"):
            Search(journal, Plans(journal)).page(0, None, {})


STEPS = {"name": "w", "tags": ["nightly"], "steps": [task("a")]}


class TestAsking:
    def test_from_python(self, redis: Redis, settings: Settings) -> None:
        async def ask() -> None:
            orchestrator = AsyncOrchestrator(settings)
            try:
                await orchestrator.define_workflow("orders", STEPS)
                ids = [(await orchestrator.start_workflow("orders")).id for _ in range(3)]
                page = await orchestrator.list_executions(
                    tag="nightly", capability="work", since=timedelta(hours=1), limit=2
                )
                assert isinstance(page, ExecutionPage) and len(page) == 2 and page.cursor
                rest = await orchestrator.list_executions(cursor=page.cursor)
                assert {info.id for info in [*page, *rest]} == set(ids)
                for id in ids:
                    await orchestrator.stop_workflow(id)
                page = await orchestrator.list_executions(error="Cancelled", limit=3)
                assert [info.error for info in page] == ["Cancelled"] * 3 and page.cursor is None
            finally:
                await orchestrator.close()

        asyncio.run(ask())

    def test_from_the_command_line(self, redis: Redis, settings: Settings, capsys: Any) -> None:
        def orch(*words: str, code: int = 0) -> Any:
            where = ["--redis", settings.redis_url or "", "--json"]
            assert run_command([*words, *where]) == code
            return json.loads(capsys.readouterr().out)

        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow("orders", STEPS)
            plan = orchestrator.manager.plan("orders")
            journal = orchestrator.runtime.journal
            for n in range(4):
                made = make_start(journal, plan, "orders", f"{n:016x}", "null")
                made.attributes.update(customer="acme" if n % 2 else "other")  # type: ignore[attr-defined]
                journal.start(made)
        of_acme = ("--attribute", "customer=acme", "--tag", "nightly", "--since", "1h30m")
        listed = orch("list", *of_acme, "--limit", "1")
        assert [each["attributes"] for each in listed["executions"]] == [{"customer": "acme"}]
        other = orch("list", *of_acme, "--cursor", listed["cursor"])
        assert other["cursor"] is None and len(other["executions"]) == 1
        assert orch("list", "--until", "PT1H")["executions"] == []
        assert orch("list", "--parent", "0000", code=2)["error"]["name"] == "NotFound"
        assert run_command(["list", "-n", "3", "--redis", settings.redis_url or ""]) == 0
        assert "there are more: --cursor " in capsys.readouterr().err
        cancelled = orch("cancel", *of_acme, "--capability", "work", "--yes")
        assert cancelled["cancelled"] == [f"{3:016x}", f"{1:016x}"]
        assert len(orch("list", "--error", "Cancelled")["executions"]) == 2
        for words in (("--since", "soon"), ("--attribute", "customer"), ("--cursor", "?")):
            assert orch("list", *words, code=2)["error"]["name"] == "InputError"
        assert orch("cancel", "0000", "--tag", "x", code=2)["error"]["name"] == "InputError"


def test_a_worked_execution_is_found_by_the_clock_of_its_start(
    one: Worked, clock: FakeClock
) -> None:
    clock.advance(5000)
    one.settle("a", one.take("a"), Completed(None, "null"))
    found, _ = one.journal.find(Query(until=clock.now - 4999), 5)
    assert [each.created for each in found] == [clock.now - 5000]
    assert one.journal.find(Query(until=clock.now - 5000), 5) == ([], "")
    assert one.journal.find(Query(since=clock.now - 4999), 5) == ([], "")


@pytest.fixture
def one(journal: Journal) -> Worked:
    return start(journal, task("a"))
