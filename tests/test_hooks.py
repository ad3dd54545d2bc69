"""Hooks: who is told of an escalation, how, and what becomes of it where nobody answers."""

from __future__ import annotations

import base64
import hmac
import json
import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from orch.cli.app import run_command
from orch.errors import HookFailed, SettingsError
from orch.escalation.command import environment
from orch.escalation.hooks import deliver
from orch.escalation.notice import Notice, wants
from orch.hooks import EVENTS, Hook
from orch.settings import load_settings
from orch.signing import signature
from orch.workflows.notices import EVENTS as TOLD

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOTICE = Notice.of(
    {
        "id": "x1:deploy:2",
        "event": "raised",
        "execution": "x1",
        "workflow": "ship",
        "path": "build/0/deploy#2",
        "rung": 2,
        "kind": "human",
        "queue": "reviewers",
        "at": 1_700_000_000_000,
        "error": {"name": "Refused", "class": "permanent", "message": "no\nat all"},
        "delivered": ["another"],
    }
)


def hook(kind: str, **given: Any) -> Any:
    return TypeAdapter(Hook).validate_python({"name": "h", "kind": kind, "timeout": 5, **given})


def refused(made: Any, notice: Notice = NOTICE) -> HookFailed:
    with pytest.raises(HookFailed) as raised:
        deliver(made, notice)
    return raised.value


# --- what is told -----------------------------------------------------------------------------


def test_events_are_those_that_escalations_tell() -> None:
    assert sorted(EVENTS) == sorted(TOLD)


def test_a_notice_is_what_the_outbox_holds() -> None:
    told = json.loads(NOTICE.body())
    assert (told["type"], told["timestamp"]) == (
        "escalation.raised",
        "2023-11-14T22:13:20.000+00:00",
    )
    assert told["data"] == {
        "id": "x1:deploy:2",
        "event": "raised",
        "execution": "x1",
        "workflow": "ship",
        "path": "build/0/deploy#2",
        "step": "deploy",
        "rung": 2,
        "kind": "human",
        "queue": "reviewers",
        "ladder": "",
        "error": {"name": "Refused", "class": "permanent", "message": "no\nat all"},
        "at": 1_700_000_000_000,
        "by": "",
        "decision": "",
    }


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, True),
        ({"events": ["raised", "resolved"]}, True),
        ({"events": ["resolved"]}, False),
        ({"queues": ["leads", "reviewers"]}, True),
        ({"queues": ["leads"]}, False),
        ({"paths": ["security"]}, False),
        ({"workflows": ["ship"], "queues": ["reviewers"]}, True),
        ({"workflows": ["other"]}, False),
    ],
)
def test_a_hook_says_what_it_wants(limits: dict[str, Any], wanted: bool) -> None:
    assert wants(hook("command", argv=["true"], **limits), NOTICE) is wanted


# --- webhooks ---------------------------------------------------------------------------------


class Site:
    """A server of HTTP that answers with ``status``. ``requests``: (headers, body)."""

    def __init__(self) -> None:
        self.status = 204
        self.hangs = False
        self.drips = False
        self.requests: list[tuple[dict[str, str], str]] = []
        self.over = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                site.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if site.hangs:
                    site.over.wait(30)
                while site.drips and not site.over.wait(0.05):
                    try:
                        self.wfile.write(b"H")
                    except OSError:
                        return
                self.send_response(site.status)
                self.send_header("Location", site.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?room=1"


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with serving(site.server):
        yield site
        site.over.set()


def test_a_signature_is_that_of_the_specification() -> None:
    """The example of the specification's reference implementations."""
    found = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_is_posted_and_signed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("HOOK_TOKEN", "abc")
    made = hook("webhook", url=site.url, secret_env="HOOK_SECRET", token_env="HOOK_TOKEN")
    deliver(made, NOTICE)
    deliver(made, NOTICE)
    (headers, body), (again, _) = site.requests
    assert body == NOTICE.body() and headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer abc"
    assert headers["webhook-id"] == again["webhook-id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    ("status", "retryable"), [(500, True), (503, True), (429, True), (404, False), (302, False)]
)
def test_an_answer_says_whether_to_try_again(site: Site, status: int, retryable: bool) -> None:
    site.status = status
    error = refused(hook("webhook", url=site.url))
    assert error.retryable is retryable and f"HTTP {status}" in error.message
    assert len(site.requests) == 1  # a redirect is not followed


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_a_site_that_hangs_is_left_in_time(site: Site, how: str) -> None:
    setattr(site, how, True)
    begun = time.monotonic()
    error = refused(hook("webhook", url=site.url, timeout=0.3))
    assert error.retryable and time.monotonic() - begun < 5


def test_a_site_that_refuses_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:1/T0/secret-path")
    error = refused(hook("webhook", url_env="HOOK_URL"))
    assert error.retryable and "$HOOK_URL" in error.message and "secret" not in error.message


def test_a_variable_that_is_missing_is_named(site: Site) -> None:
    error = refused(hook("webhook", url=site.url, secret_env="NO_SUCH_SECRET"))
    assert not error.retryable and "NO_SUCH_SECRET" in error.message
    assert not site.requests


# --- commands ---------------------------------------------------------------------------------


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_gets_the_notice_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "abc-123")
    monkeypatch.setenv("PAGER_KEY", "def-456")
    told = tmp_path / "told"
    code = (
        "import os, sys; "
        f"open({str(told)!r}, 'w').write(sys.stdin.read() + '|' + ','.join(os.environ))"
    )
    deliver(hook("command", argv=python(code), pass_env=["PAGER_KEY"]), NOTICE)
    body, _, names = told.read_text().partition("|")
    assert body == NOTICE.body()
    assert "PAGER_KEY" in names.split(",") and "SHOP_TOKEN" not in names.split(",")


def test_an_environment_loses_what_is_secret() -> None:
    given = {
        "PATH": "/bin",
        "ORCH_REDIS_URL": "redis://host",
        "DB_URL": "postgres://me:abc@db/x",
        "API_KEY": "abc",
    }
    assert environment(given) == {"PATH": "/bin"}


def test_a_command_that_fails_says_what_it_complained_of() -> None:
    error = refused(hook("command", argv=python("import sys; sys.exit('password=abc, no')")))
    assert error.retryable and "ended with 1: password=***, no" in error.message


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; "
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(mark)!r}, 'w').write(str(c.pid)); time.sleep(60)"
    )
    error = refused(hook("command", argv=python(code), timeout=1.5))
    assert error.retryable and "longer than 1.5 s" in error.message
    child = int(mark.read_text())
    until(lambda: not _lives(child))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_command_that_is_not_there_is_not_worth_another_try() -> None:
    error = refused(hook("command", argv=["/no/such/program"]))
    assert not error.retryable and "No such file" in error.message


def test_a_command_that_does_not_listen_is_told_all_the_same() -> None:
    deliver(hook("command", argv=["true"]), NOTICE)


# --- mails ------------------------------------------------------------------------------------


class Post(socketserver.ThreadingTCPServer):
    """A mail server, as far as RFC 5321 is needed here. ``answers``: command -> its answer."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.mails: list[str] = []
        self.said: list[str] = []
        super().__init__(("127.0.0.1", 0), _Dialogue)


class _Dialogue(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            self.server.said.append(line)
            word = line.split(":")[0].split()[0].upper()
            usual = {"DATA": "354 go on", "QUIT": "221 bye"}.get(word, "250 fine")
            self.say(self.server.answers.get(word, usual))
            if word == "DATA" and word not in self.server.answers:
                lines = []
                while (text := self.rfile.readline().decode()) != ".\r\n":
                    lines.append(text)
                self.server.mails.append("".join(lines))
                self.say("250 taken")
            if word == "QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def mail_hook(post: Post, **given: Any) -> Any:
    port = post.server_address[1]
    fields = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "orch@example.org"}
    return hook("email", **{**fields, "to": ["a@example.org", "b@example.org"], **given})


def test_a_mail_says_what_happened_to_all_who_are_named() -> None:
    post = Post(QUIT="421 gone")
    with serving(post):
        deliver(mail_hook(post), NOTICE)
        deliver(mail_hook(post), NOTICE)
    first, second = post.mails
    assert "Subject: [orch] ship: step build/0/deploy#2 failed (Refused)" in first
    assert "queue: reviewers" in first and "error: Refused (permanent)" in first
    ids = [line for text in (first, second) for line in text.split("\r\n") if "Message-ID" in line]
    assert ids[0] == ids[1]
    assert "rcpt TO:<b@example.org>" in post.said


def test_a_name_with_a_line_break_is_no_header() -> None:
    post = Post()
    with serving(post):
        deliver(mail_hook(post), NOTICE.model_copy(update={"workflow": "x\nBcc: c@example.org"}))
    assert "\nBcc:" not in post.mails[0].partition("\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("answers", "retryable"),
    [
        ({"MAIL": "451 later"}, True),
        ({"MAIL": "550 no"}, False),
        ({"RCPT": "450 later"}, True),
        ({"RCPT": "550 nobody"}, False),
        ({"DATA": "554 spam"}, False),
    ],
)
def test_a_mail_server_says_whether_to_try_again(answers: dict[str, str], retryable: bool) -> None:
    post = Post(**answers)
    with serving(post):
        assert refused(mail_hook(post)).retryable is retryable
    assert not post.mails


def test_a_mail_server_without_starttls_gets_no_mail() -> None:
    post = Post()
    with serving(post):
        error = refused(mail_hook(post, security="starttls"))
    assert not error.retryable and "STARTTLS" in error.message
    assert not post.mails


def test_a_mail_server_that_is_away_is_worth_another_try() -> None:
    post = Post()
    post.server_close()
    assert refused(mail_hook(post)).retryable


# --- settings and commands --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "shell"}, "command"),
        ({"kind": "command", "argv": []}, "argv"),
        ({"kind": "command", "argv": ["x"], "events": ["never"]}, "events"),
        ({"kind": "webhook"}, "either `url` or `url_env`"),
        ({"kind": "webhook", "url": "ftp://host/x"}, "http or https"),
        ({"kind": "webhook", "url": "https://me:hunter2@host/x"}, "token_env"),
        ({"kind": "email", "host": "h", "sender": "me", "to": ["a@b"]}, "sender"),
        (
            {"kind": "email", "host": "h", "sender": "a@b", "to": ["a@b"], "user": "u"},
            "`user` and `password_env`",
        ),
    ],
)
def test_a_wrong_hook_is_refused_and_tells_no_password(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(hooks=[{"name": "h", **given}])
    assert said in raised.value.message and "hunter2" not in raised.value.message


def test_two_hooks_have_two_names() -> None:
    twice = [{"name": "h", "kind": "command", "argv": ["true"]}] * 2
    with pytest.raises(SettingsError, match="two hooks are called 'h'"):
        load_settings(hooks=twice)


def test_hooks_are_listed_and_tested(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGER_KEY", "def-456")
    (tmp_path / "orch.toml").write_text(
        f"""
        [[hooks]]
        name = "chat"
        kind = "webhook"
        url = "{site.url}"
        queues = ["leads"]
        [[hooks]]
        name = "pager"
        kind = "command"
        argv = ["false", "--key", "hunter2"]
        """
    )
    assert run_command(["hooks"]) == 0
    shown = capsys.readouterr().out
    assert "chat" in shown and "queues leads" in shown
    assert run_command(["hooks", "test", "chat"]) == 0
    assert json.loads(site.requests[0][1])["data"]["queue"] == "leads"
    capsys.readouterr()
    assert run_command(["hooks", "test", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["delivered"]) for row in rows] == [("chat", True), ("pager", False)]
    assert run_command(["hooks", "--json"]) == 0
    listed = capsys.readouterr().out
    assert run_command(["settings", "--json"]) == 0
    assert "hunter2" not in listed + capsys.readouterr().out and "room=1" not in listed
    assert run_command(["hooks", "test", "nobody"]) == 2
