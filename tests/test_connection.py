"""The seam to Redis: what goes wrong there is said in our words."""

from __future__ import annotations

import pytest

from orch.embedded import ephemeral
from orch.errors import JournalError, PartitionMismatch, Unreachable
from orch.journal.journal import Journal, open_redis, without_password
from orch.settings import Settings


def test_a_password_is_never_shown() -> None:
    assert without_password("redis://user:secret@host:6379/0") == "redis://user:***@host:6379/0"
    assert without_password("redis://host:6379/0") == "redis://host:6379/0"


def test_a_redis_that_is_away_is_named_with_what_to_do() -> None:
    url = "redis://127.0.0.1:1/0"
    journal = Journal(open_redis(url), Settings(), url=url)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/0 does not answer") as caught:
        journal.workflows()
    assert "ORCH_REDIS_URL" in caught.value.hint


def test_a_redis_whose_memory_is_full_counts_as_away_and_loses_nothing() -> None:
    with ephemeral() as server:
        client = open_redis(server.url)
        journal = Journal(client, Settings(), url=server.url)
        client.config_set("maxmemory", "1")
        with pytest.raises(Unreachable, match="memory is full"):
            journal.store_plan("p", "{}")
        client.config_set("maxmemory", "0")
        journal.store_plan("p", "{}")
        assert journal.read_plan("p") == "{}"
        client.close()


def test_what_goes_with_a_script_that_redis_does_not_know_goes_once(journal: Journal) -> None:
    """It would be carried out, the script refused, and both be sent again."""
    keys, partition = journal.keys, journal.keys.partition("x1")
    journal.redis.script_flush()
    journal.run_ahead(
        [("INCR", "sent")], "postpone", record=keys.record("x1"), steps=keys.steps("x1"),
        watch=keys.watch(partition), id="x1", path="a", state="", rests=0, due=0,
    )  # fmt: skip
    assert journal.redis.getdel("sent") == "1"


def test_another_partition_count_is_refused_with_both_numbers(journal: Journal) -> None:
    journal.check()
    other = Journal(journal.redis, Settings(partitions=8), url=journal.url)
    with pytest.raises(PartitionMismatch, match=r"with 64 partitions.* is 8") as caught:
        other.check()
    assert "ORCH_PARTITIONS=64" in caught.value.hint


def test_a_call_that_redis_does_not_understand_is_a_journal_error(journal: Journal) -> None:
    journal.redis.set("orch:workflows", "not a hash", ex=60)
    with pytest.raises(JournalError, match="WRONGTYPE"):
        journal.workflows()


def test_patience_repeats_a_call_until_redis_is_back(journal: Journal) -> None:
    answers = iter([Unreachable("away"), Unreachable("away"), None])

    def call() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "back"

    assert journal.patiently(call, 5.0) == "back"


def test_patience_ends(journal: Journal) -> None:
    def call() -> None:
        raise Unreachable("away")

    with pytest.raises(Unreachable):
        journal.patiently(call, 0.1)
