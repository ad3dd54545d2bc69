"""Flower, as one sees it in a browser: workers, steps, an attempt that failed and its retry."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from orch import Orchestrator
from orch.execution import Execution
from orch.settings import Settings
from tests.conftest import wait_for

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "")) if os.environ.get("SCREENSHOTS") else None
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
CODE = """
from orch import capability
from orch.agents.context import Context

@capability("review_code")
def review_code():
    return "fine"

@capability("flaky")
def flaky(context: Context):
    if context.attempt == 1:
        raise ConnectionError("the service is away")
"""


def require_browser() -> tuple[str, str]:
    if CHROMIUM and DRIVER:
        return CHROMIUM, DRIVER
    message = "Chromium and its driver are not installed; scripts/install_test_needs.sh does it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    chromium, driver = require_browser()
    options = Options()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,900",
    ):
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthcheck", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def flower(redis: Redis, settings: Settings) -> Iterator[str]:
    """Flower's address, by the command `orch flower`."""
    port, redis_option = free_port(), ["--redis", str(settings.redis_url)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "FLOWER_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "orch", "flower", "--port", str(port), *redis_option],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_up(url), timeout=60)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings, tmp_path: Path) -> Iterator[Orchestrator]:
    code = tmp_path / "flower_code.py"
    code.write_text(CODE)
    with (
        Orchestrator(settings) as made,
        made.workers(
            include=[str(code)], queues=["review_code", "flaky"], concurrency=1, events=True
        ),
    ):
        retry = {"maxAttempts": 2, "interval": 10}
        steps = [
            {"id": "review", "capability": "review_code", "next": "call"},
            {"id": "call", "capability": "flaky", "retry": retry, "handoff": "off"},
        ]
        made.define_workflow("project_setup", {"name": "project_setup", "steps": steps})
        yield made


def look(browser: webdriver.Chrome, name: str) -> str:
    """The text of the page; a picture of it is kept where SCREENSHOTS says."""
    if SCREENSHOTS is not None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(SCREENSHOTS / f"flower-{name}.png"))
    return words(browser.execute_script("return document.body.textContent"))


def words(text: str) -> str:
    """As it was written: what is shown breaks long words."""
    return " ".join(text.split())


ROWS = """
return [...document.querySelectorAll("table tbody tr")].map(
    row => [row.textContent, row.querySelector("a[href*='/task/']")?.href])
"""


def links(browser: webdriver.Chrome) -> list[tuple[str, str | None]]:
    """Text of each row of the table, and the page that it leads to. Read at once: tables change."""
    return [(words(text), link) for text, link in browser.execute_script(ROWS)]


def rows(browser: webdriver.Chrome) -> list[str]:
    return [text for text, _ in links(browser)]


@pytest.mark.slow
def test_workers_steps_and_retries_are_seen_in_a_browser(
    browser: webdriver.Chrome, flower: str, orchestrator: Orchestrator
) -> None:
    def tasks() -> Any:
        browser.get(f"{flower}/tasks")
        wait_for(lambda: rows(browser), timeout=20)
        look(browser, "tasks")
        return rows(browser)

    # Workers tell only while somebody listens, and Flower needs a moment to.
    def ran() -> Execution | None:
        execution = orchestrator.start_workflow("project_setup")
        execution.wait(timeout=60)
        texts = tasks()
        return execution if sum(execution.id in text for text in texts) >= 3 else None

    execution = wait_for(ran, timeout=60)
    browser.get(f"{flower}/workers")
    (worker,) = orchestrator.runtime.journal.live_workers()
    wait_for(lambda: worker["name"] in look(browser, "workers"), timeout=20)
    wait_for(lambda: "Online" in look(browser, "workers"), timeout=20)

    shown = f"project_setup/review #1 (exec {execution.id})"
    first = f"project_setup/call #1 (exec {execution.id})"
    second = f"project_setup/call #2 (exec {execution.id})"
    expected = (
        (shown, "orch.review_code", "SUCCESS"),
        (first, "orch.flaky", "FAILURE"),
        (second, "orch.flaky", "SUCCESS"),
    )

    def all_are_shown() -> bool:
        texts = tasks()
        return all(any(all(w in text for w in words) for text in texts) for words in expected)

    wait_for(all_are_shown, timeout=30)  # events come when they come

    box = browser.find_element(By.CSS_SELECTOR, "input[type=search]")
    box.send_keys("orch.flaky")
    wait_for(lambda: rows(browser) and all("orch.flaky" in text for text in rows(browser)))
    assert "orch.review_code" not in look(browser, "tasks").partition("Name")[2]

    (link,) = [link for text, link in links(browser) if first in text]
    assert link is not None
    browser.get(link)
    page = wait_for(lambda: (text := look(browser, "task")) and "FAILURE" in text and text)
    assert first in page
    assert "ConnectionError" in page and "the service is away" in page


@pytest.mark.slow
def test_its_metrics_carry_the_capability(flower: str, orchestrator: Orchestrator) -> None:
    def told() -> bool:
        orchestrator.start_workflow("project_setup").wait(timeout=60)
        with urllib.request.urlopen(f"{flower}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return re.search(r'flower_events_total\{[^}]*task="orch.review_code"', text) is not None

    wait_for(told, timeout=60)


def test_flower_is_not_open_to_everybody(
    settings: Settings, wait_until: Callable[..., object]
) -> None:
    command = [sys.executable, "-m", "orch", "flower", "--redis", str(settings.redis_url)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "FLOWER_"))}
    for more, said in (
        (["--address", "0.0.0.0"], "would let everybody look at steps"),
        (["--basic-auth", "ann"], "without a password"),
    ):
        refused = subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, timeout=60
        )
        assert refused.returncode == 2
        assert said in refused.stderr
