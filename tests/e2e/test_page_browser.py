"""The live page in a real browser: real clicks, the server's own count of what they did, and screenshots.

`make test-page` runs them.
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.driving import Browser, browsing
from tests.e2e.test_page import TOKEN, with_token
from tests.harness import POOL, Case, case, entries, finish, kill, told_after, user_ids

RATE = 50


@dataclass
class Shown:
    """A run with its page in a browser."""

    it: Case
    run: subprocess.Popen[bytes]
    url: str
    browser: Browser

    def sign_in(self) -> None:
        """Fill the form in, and wait for the buttons."""
        self.browser.call("fill", "#name", "ann")
        self.browser.call("fill", "#token", TOKEN)
        self.browser.call("press", "#token", "Enter")
        self.browser.wait_for("!document.querySelector('#controls').hidden")

    def arrivals(self, since: float, until: float) -> int:
        """How many requests the server has counted in this time, of the monotonic clock."""
        return sum(since <= at < until for at in self.it.served.ledger.arrivals)

    def rate(self, seconds: float = 3.0, after_s: float = 1.0) -> float:
        """Requests a second that the server sees in the next seconds."""
        time.sleep(after_s)
        began = time.monotonic()
        time.sleep(seconds)
        return self.arrivals(began, began + seconds) / seconds


@contextmanager
def shown(folder: Path, browser: Browser, host: str = "127.0.0.1", count: int = 25_000) -> Iterator[Shown]:
    """Begin a run with a page at a free port."""
    ids = user_ids(count)
    with case(folder, ids, users=ids[: -count // 10], options=["--rate", RATE, "--chunk-size", 10]) as it:
        run = it.start("--listen", f"{host}:0", "--config", with_token(folder))
        try:
            line = told_after(run, "Live page: ", None)
            found = re.search(r"http://[\d.:]+/", line)
            assert found is not None
            yield Shown(it, run, found.group(), browser)
        finally:
            if run.returncode is None:
                kill(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


def assert_clean(browser: Browser, url: str) -> None:
    """No error in the console, and no request to another host."""
    told = browser.told()
    assert told["errors"] == []
    assert set(told["hosts"]) <= {url.split("/")[2], "data"}


def test_looks(tmp_path: Path, browser: Browser) -> None:
    """Nothing is cut off at any width, in light and dark."""
    with shown(tmp_path, browser) as it:
        for (name, width), scheme in itertools.product((("desktop", 1280), ("phone", 375)), ("light", "dark")):
            browser.open(it.url, width=width, scheme=scheme)
            browser.wait_for("!document.querySelector('#run').hidden")
            assert not browser.call("isVisible", "#controls")
            it.sign_in()
            browser.wait_for_text("#state", "Sending")
            browser.wait_for_text("#rate-now", "used")
            browser.wait_for_text("#outcomes", "deleted")
            browser.screenshot(f"{name}-{scheme}")
            assert browser.call("evaluate", "document.documentElement.scrollWidth") == width
            assert re.search(r"\d,\d{3} remaining", browser.text("#outcomes"))
            assert POOL in browser.text("header")
            assert_clean(browser, it.url)


def test_clicks(tmp_path: Path, browser: Browser) -> None:
    """Each button does what it says, by the server's count, and the log has the name of the person."""
    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        browser.wait_for("!document.querySelector('#sign-in').hidden")
        browser.call("fill", "#name", "ann")
        browser.call("fill", "#token", "a wrong token")
        browser.click("#sign-in button")
        browser.wait_for_text("#sign-in-answer", "wrong token")
        assert not browser.call("isVisible", "#controls")
        it.sign_in()
        browser.wait_for_text("#state", "Sending")
        assert browser.call("inputValue", "#rate") == str(RATE)

        browser.call("fill", "#rate", "10")
        browser.call("press", "#rate", "Enter")
        browser.wait_for_text("#rate-now", "allowed 10/s")
        assert it.rate() <= 10 + 1

        browser.click("#pause")
        browser.wait_for_text("#state", "Paused")
        browser.wait_for_text("#why", "Paused by ann (page) since")
        browser.screenshot("paused")
        assert it.rate() == 0
        browser.click("#pause")  # it says Resume now
        browser.wait_for_text("#state", "Sending")
        assert it.rate(1.0) > 0

        browser.call("fill", "#rate", "100")
        browser.click("#set-rate button")
        browser.wait_for_text("#rate-now", "allowed 100/s")
        assert 50 < it.rate() <= 100 + 2

        browser.call("fill", "#concurrency", "2")
        browser.click("#set-concurrency button")
        browser.wait_for_text("#requests", "of 2")

        browser.call("fill", "#until", time.strftime("%H:%M", time.localtime(time.time() + 7_200)))
        browser.click("#set-until button")
        browser.wait_for_text("#requests", "stops at")

        browser.call("fill", "#rate", "100000")
        browser.call("evaluate", "document.querySelector('#rate').max = ''")
        browser.call("fill", "#rate", "100001")
        browser.click("#set-rate button")
        browser.wait_for_text("#answer", "Refused:")

        browser.click("#stop")
        browser.wait_for_text("#stop", "Click again")
        assert it.run.poll() is None
        browser.click("#stop")
        browser.wait_for_text("#state", "Ended")
        browser.wait_for_text("#banner", "The run has ended at")
        browser.screenshot("ended")
        told = browser.told()
        assert [error for error in told["errors"] if "ERR_CONNECTION_REFUSED" not in error and "40" not in error] == []
        assert finish(it.run).code == 6
        changes = [
            (each["what"], each["value"], each["source"], each["user"])
            for each in entries(it.it.log)
            if each["type"] == "change"
        ]
        assert [change[:2] for change in changes if change[0] != "until"] == [
            ("rate", 10),
            ("paused", True),
            ("paused", False),
            ("rate", 100),
            ("concurrency", 2),
            ("stop", True),
        ]
        assert {change[2:] for change in changes} == {("page", "ann")}


def test_keys_alone(tmp_path: Path, browser: Browser) -> None:
    """Without a mouse: Tab reaches every field and button in order, and Enter presses them."""
    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        it.sign_in()
        browser.wait_for("!document.querySelector('#pause').disabled")
        browser.call("focus", "#pause")
        reached = []
        for _ in range(8):
            reached.append(browser.call("evaluate", "document.activeElement.id || document.activeElement.innerText"))
            browser.call("evaluate", "0")
            browser.call("press", ":focus", "Tab")
        assert reached[:4] == ["pause", "stop", "rate", "Set rate"]
        browser.call("focus", "#pause")
        browser.call("press", ":focus", "Enter")
        browser.wait_for_text("#state", "Paused")
        assert browser.call("getAttribute", "#state", "aria-live") == "polite"


def test_a_lost_connection(tmp_path: Path, browser: Browser) -> None:
    """The page says since when it shows old figures, connects by itself, and has its charts again."""
    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        browser.wait_for_text("#state", "Sending")
        browser.wait_for("points.length > 4")
        it.run.send_signal(signal.SIGSTOP)
        browser.wait_for_text("#banner", "No connection since ")
        browser.screenshot("lost")
        it.run.send_signal(signal.SIGCONT)
        browser.wait_for("document.querySelector('#banner').hidden")
        kept = browser.call("evaluate", "points.length")
        browser.call("reload")
        browser.wait_for(f"points.length >= {kept}")
        browser.wait_for_text("#rate-now", "used")
        kill(it.run)
        browser.wait_for_text("#banner", "No connection since ")
        port = it.url.split(":")[2].strip("/")
        again = it.it.start("--listen", f"127.0.0.1:{port}")
        try:
            browser.wait_for("document.querySelector('#banner').hidden", 30)
            browser.wait_for_text("#state", "Sending", 30)
        finally:
            kill(again)


def test_a_browser_that_hangs(tmp_path: Path, browser: Browser) -> None:
    """The run keeps its rate while the browser takes nothing, and afterwards."""
    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        browser.wait_for_text("#state", "Sending")
        before = it.rate(4.0)
        with browser.stopped():
            hanging = it.rate(8.0)
        assert before == pytest.approx(RATE, rel=0.05)
        assert hanging == pytest.approx(RATE, rel=0.05)
        browser.wait_for("document.querySelector('#banner').hidden")


def test_in_a_network_the_page_asks_for_the_token_first(tmp_path: Path, browser: Browser) -> None:
    with shown(tmp_path, browser, "0.0.0.0") as it:
        url = it.url.replace("0.0.0.0", "127.0.0.1")
        browser.open(url)
        browser.wait_for("!document.querySelector('#sign-in').hidden")
        assert POOL not in browser.text("body")
        browser.screenshot("sign-in")
        it.sign_in()
        browser.wait_for_text("#state", "Sending")
        browser.call("reload")
        browser.wait_for("!document.querySelector('#controls').hidden")
