"""The live page in a real browser: real clicks, the server's own count of what they did, and screenshots.

`make test-page` runs them.
"""

from __future__ import annotations

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
from tests.e2e.test_page import TOKEN, asked_on_a_terminal, port_of, with_token
from tests.harness import POOL, Case, case, entries, finish, kill, told_after, user_ids, write_objects

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
        self.browser.wait_for("!document.querySelector('#sign-in').hidden")
        if not self.browser.call("isVisible", "#sign-in"):
            self.browser.click("#control")
        self.browser.call("fill", "#name", "ann")
        self.browser.call("fill", "#token", TOKEN)
        self.browser.call("press", "#token", "Enter")
        self.browser.wait_for("!document.querySelector('#steer').hidden")

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
def shown(folder: Path, browser: Browser, host: str = "127.0.0.1", *more: object) -> Iterator[Shown]:
    """Begin a run with a page at a free port."""
    ids = user_ids(25_000)
    with case(folder, ids, users=ids[:-2_500], options=["--rate", RATE, "--chunk-size", 10, *more]) as it:
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


def test_the_states_of_a_run_that_is_interrupted(tmp_path: Path, browser: Browser) -> None:
    """Sending, paused, waiting, draining and interrupted: what each shows first, and in every picture no fault."""
    guards = ("--spare", "active-since=2023-11-01")
    with shown(tmp_path, browser, "127.0.0.1", *guards) as it:
        browser.open(it.url)
        it.sign_in()
        browser.wait_for("points.length > 4")
        browser.click("#pause")
        browser.wait_for_text("#state", "Paused")
        assert "by ann" in browser.text("#why")
        assert browser.text("#figures").count("\u2013") == 2, "a paused run has no speed"
        browser.judge("paused")
        browser.click("#pause")
        browser.click("#control")
        browser.wait_for_text("#state", "Sending")
        it.it.switch(share_429=1.0, retry_after="seconds", retry_after_s=20)
        browser.wait_for_text("#state", "Waiting")
        browser.wait_for_text("#why", "The server asks to wait (429)")
        browser.judge("waiting")
        it.it.switch(share_429=0.0)
        browser.wait_for_text("#state", "Sending", 40)
        browser.wait_for_text("#reasons", "spared: last sign-in on 2023-11-01 or later")
        browser.wait_for("points.filter((point) => point[2] > 0).length > 8")
        browser.judge("sending")
        assert re.search(r"\d,\d{3} remaining", browser.text("#outcomes"))
        assert POOL in browser.text("header")
        assert "fail" not in browser.text("#limits")
        assert_clean(browser, it.url)
        it.it.switch(latency_s=25)
        time.sleep(1)  # requests that take so long are on the wire
        it.run.send_signal(signal.SIGTERM)
        browser.wait_for_text("#state", "Draining")
        browser.judge("draining")
        browser.wait_for_text("#state", "Interrupted", 40)
        browser.wait_for_text("#why", "Why: Ctrl-C")
        assert "bulkdel resume RUN" in browser.text("#next")
        browser.judge("interrupted")
        assert finish(it.run).code == 128 + signal.SIGTERM


def test_the_states_of_a_run_that_completes(tmp_path: Path, browser: Browser) -> None:
    """Before the confirmation it shows the plan; at the end it says that every row has its outcome, and what to do."""
    ids = user_ids(2_000)
    with case(tmp_path, [*ids, *ids[:39]], users=ids[:-20]) as it:
        keep = write_objects(tmp_path / "vips.jsonl", ids[:12])
        options = ("--rate", 200, "--exclude", keep, "--spare", "active-since=2023-11-01")
        with asked_on_a_terminal(it, *options) as (process, port, typed):
            browser.open(url := f"http://127.0.0.1:{port}/")
            browser.wait_for_text("#state", "Waiting for confirmation")
            browser.wait_for_text("#plan", "vips.jsonl")
            assert browser.call("isVisible", "#plan")
            assert browser.text("#figures").startswith("ids to send\n1,988\n")
            assert not set(re.findall("[0-9a-f]{24}", browser.call("content"))) - {POOL}
            browser.judge("waiting-for-confirmation")
            assert_clean(browser, url)
            typed("1988")
            browser.wait_for_text("#state", "Complete")
            assert finish(process).code == 0
        assert "bulkdel report RUN" in browser.text("#next")
        assert not browser.call("isVisible", "#plan")
        assert browser.text("#left-out").startswith("Left out: ")
        browser.judge("complete")


def test_the_states_of_a_run_that_halts(tmp_path: Path, browser: Browser) -> None:
    """The end names the limit, and how to go on."""
    ids = user_ids(3_000)
    with case(tmp_path, ids, options=["--rate", 20, "--chunk-size", 1, "--max-refused", "2"]) as it:
        run = it.start("--listen", "127.0.0.1:0")
        browser.open(f"http://127.0.0.1:{port_of(run)}/")
        it.wait_until_deleted(60)
        it.switch(poisonous=dict.fromkeys(ids[80::2], (422, None)))
        browser.wait_for_text("#state", "Halted", 30)
        assert finish(run).code == 4
        assert browser.text("#why").startswith("Beyond a limit: refused ids, 3 of at most 2.")
        assert "bulkdel resume RUN" in browser.text("#next")
        browser.judge("halted")


def test_clicks(tmp_path: Path, browser: Browser) -> None:
    """Each button does what it says, by the server's count, and the log has the name of the person."""
    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        browser.click("#control")
        browser.call("fill", "#name", "ann")
        browser.call("fill", "#token", "a wrong token")
        browser.click("#sign-in button")
        browser.wait_for_text("#sign-in-answer", "wrong token")
        assert not browser.call("isVisible", "#steer")
        it.sign_in()
        browser.wait_for_text("#state", "Sending")
        assert browser.call("inputValue", "#rate") == str(RATE)

        browser.call("fill", "#rate", "10")
        browser.call("press", "#rate", "Enter")
        browser.wait_for_text("#rate-now", "allowed 10/s")
        assert it.rate() <= 10 + 1

        browser.click("#pause")
        browser.wait_for_text("#state", "Paused")
        browser.wait_for_text("#why", "Paused by ann since")
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
        browser.wait_for_text("#requests", "of at most 2")

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
        browser.wait_for_text("#state", "Stopped")
        browser.wait_for_text("#why", "Why: it was asked to stop.")
        browser.judge("stopped")
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
    """Without a mouse: Tab reaches every field and button in order, each shows the focus, and Enter presses them."""
    outline = "getComputedStyle(document.activeElement).outlineStyle"

    def tab(at: str) -> str:
        browser.call("press", at, "Tab")
        assert browser.call("evaluate", outline) == "solid"
        reached: str = browser.call("evaluate", "document.activeElement.id || document.activeElement.innerText")
        return reached

    def typed(text: str) -> None:
        browser.call("type", ":focus", text)

    with shown(tmp_path, browser) as it:
        browser.open(it.url)
        browser.wait_for_text("#state", "Sending")
        browser.wait_for("!document.querySelector('#control').hidden")
        assert tab("body") == "control"
        browser.call("press", ":focus", "Enter")
        assert tab(":focus") == "name"
        typed("ann")
        assert tab(":focus") == "token"
        typed(TOKEN)
        assert tab(":focus") == "Sign in"
        browser.call("press", ":focus", "Enter")
        browser.wait_for("!document.querySelector('#pause').disabled")
        assert browser.call("evaluate", "document.activeElement.id") == "control"
        reached = [tab(":focus") for _ in range(5)]
        assert reached == ["pause", "stop", "rate", "Set rate", "concurrency"]
        browser.call("focus", "#pause")
        browser.call("press", ":focus", "Enter")
        browser.wait_for_text("#state", "Paused")
        assert browser.call("getAttribute", "#state", "aria-live") == "polite"
        browser.call("focus", "summary")
        browser.call("press", ":focus", "Enter")
        assert browser.call("isVisible", "#plan")


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
        browser.wait_for_text("#rate-now", "sent")
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
        browser.judge("sign-in")
        browser.call("evaluate", "document.querySelector('main').append(new Image())")
        assert [found.split(":")[0] for found in browser.violations()] == ["image-alt"]
        it.sign_in()
        browser.wait_for_text("#state", "Sending")
        browser.call("reload")
        browser.wait_for("!document.querySelector('#control').hidden")
        browser.click("#control")
        assert browser.call("isVisible", "#steer")
