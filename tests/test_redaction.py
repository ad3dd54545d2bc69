"""No failure tells a secret: neither in its message, nor in its stack, nor in its data."""

from __future__ import annotations

import json
import time

import pytest

from orch.redaction import Redactor, tells_secret
from orch.settings import Settings
from orch.tasks.failures import failure_of
from orch.workflows.outcome import Failure

ENVIRONMENT = {
    "DB_PASSWORD": "hunter-22",
    "STRIPE_KEY": "live/5 1aBc",
    "TOKEN_LIMIT": "4096",
    "PWD": "/srv/app",
    "DATABASE_URL": "postgresql://me:p%40ssw0rd@db/x",
    "DEBUG_TOKEN": "true",
}
REDACTOR = Redactor(ENVIRONMENT, ["redis://:s3cr3t@host/0"], ["customer-no"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot log in with hunter-22!", "cannot log in with ***!"),
        ("GET /?k=live%2F5%201aBc", "GET /?k=***"),
        ("no route to amqp://me:abc@mq:5672//", "no route to amqp://me:***@mq:5672//"),
        ("said p@ssw0rd and s3cr3t", "said *** and ***"),
        ("Authorization: Basic bWU6YWJj, ok", "Authorization: ***, ok"),
        ("{'authorization': 'Bearer abc.def'}", "{'authorization': ***}"),
        ("sent bearer ab12cd34ef to them", "sent bearer *** to them"),
        ('{"api_key": "a b c", "id": 7}', '{"api_key": ***, "id": 7}'),
        ("?user=me&access_token=abc&page=2", "?user=me&access_token=***&page=2"),
        ("clientSecret=abc; path=/", "clientSecret=***; path=/"),
        ("['psql', '--password', 'abc']", "['psql', '--password', ***]"),
        ("tool --token abc --verbose", "tool --token *** --verbose"),
        ("Customer-No: 1234", "Customer-No: ***"),
        ("key AKIAIOSFODNN7EXAMPLE is gone", "key *** is gone"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----.", "***."),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.abc_-1", "***"),
    ],
)
def test_a_secret_is_taken_out_of_a_text(text: str, expected: str) -> None:
    assert REDACTOR.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'total'",
        "the limit is 4096 in /srv/app, which is true",
        "a basic configuration, and the bearer of bad news",
        "sort key: amount",
        "max_tokens=100, prompt_tokens: 7",
        "http://host:8080/a@b",
        "unexpected token '}' in line 7",
        "git@github.com:me/repo.git",
    ],
)
def test_other_texts_stay_what_they_are(text: str) -> None:
    assert REDACTOR.text(text) == text


def test_data_loses_what_stands_under_the_name_of_a_secret() -> None:
    data = {
        "user": "me",
        "password": "abc",
        "headers": [{"X-Api-Key": "abc", "Accept": "*/*"}],
        "tokens": {"prompt": 12},
        "customer_no": 7,
        "note": "hunter-22",
        "token": None,
        "secrets": {"a": ["b"]},
    }
    assert REDACTOR.value(data) == {
        "user": "me",
        "password": "***",
        "headers": [{"X-Api-Key": "***", "Accept": "*/*"}],
        "tokens": {"prompt": 12},
        "customer_no": "***",
        "note": "***",
        "token": None,
        "secrets": "***",
    }


def test_names_tell_whether_they_are_of_a_secret() -> None:
    secret = ("DB_PASSWORD", "apiKey", "client-secret", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY")
    others = ("PWD", "sortKey", "KEYBOARD", "key", "SSH_KEY_PATH", "max_tokens", "tokenizer")
    assert [tells_secret(name) for name in secret] == [True] * len(secret)
    assert [tells_secret(name) for name in others] == [False] * len(others)


def test_a_long_text_takes_no_long_time() -> None:
    for text in ("a" * 60_000, "a-" * 30_000, "token" * 12_000, "://a:" * 12_000, '"' * 60_000):
        begun = time.perf_counter()
        REDACTOR.text(text)
        assert time.perf_counter() - begun < 2


def test_a_failure_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "abc-123-xyz")
    monkeypatch.setenv("SHOP_NUMBER", "17-42-17")

    def call() -> None:
        token = "abc-123-xyz"
        raise ConnectionError(f"{token} was refused for 17-42-17")

    settings = Settings(redact=["shop_number"])
    with pytest.raises(ConnectionError) as raised:
        call()
    failure = failure_of(settings, raised.value, Failure("", "", "a", "a", 1))
    assert failure.message == "*** was refused for ***"
    told = json.dumps(failure.as_dict())
    assert "abc-123" not in told and "17-42" not in told
    assert failure.as_dict()["class"] == "transient"


def test_a_secret_is_not_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "abc-123-xyz")
    error = ValueError("x" * 1995 + "abc-123-xyz")
    assert failure_of(Settings(), error, Failure("", "")).message.endswith("x***")
