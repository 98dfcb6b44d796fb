"""One page in a headless Chromium, driven by calls to playwright-core in a Node process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".page"
PLAYWRIGHT = FOLDER / "node_modules" / "playwright-core"
AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"

WIDTHS = (1280, 768, 390)
SCHEMES = ("light", "dark")

BROWSER = "BULKDEL_TEST_BROWSER"
"""The variable that has the path of Chromium; without it, the tests are skipped."""

NAMES = ("chromium", "chromium-browser")


def chromium() -> str | None:
    """The path of Chromium; None when it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


class Browser:
    """A page of one browser. The network is cut: every name but 127.0.0.1 is unknown to it."""

    def __init__(self, node: subprocess.Popen[str]) -> None:
        self._node = node
        self._pid: int = self._ask(do="launch", path=os.environ[BROWSER], playwright=str(PLAYWRIGHT))

    def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open a page in a fresh profile, and close the page before."""
        self._ask(do="open", url=url, width=width, height=height, scheme=scheme)

    def call(self, method: str, *args: object) -> Any:
        """Call a method of playwright's Page, and return what it returns."""
        return self._ask(do="call", method=method, args=args)

    def click(self, selector: str) -> None:
        """Click, as a person would: the element must be visible, enabled and not covered."""
        self.call("click", selector)

    def text(self, selector: str) -> str:
        """The text that is shown."""
        found: str = self.call("innerText", selector)
        return found

    def wait_for(self, script: str, timeout_s: float = 15) -> None:
        """Wait until a JavaScript expression is true."""
        self._ask(do="wait", script=script, timeout=1000 * timeout_s)

    def wait_for_text(self, selector: str, text: str, timeout_s: float = 15) -> None:
        """Wait until an element shows a text."""
        script = f"document.querySelector({json.dumps(selector)}).innerText.includes({json.dumps(text)})"
        self.wait_for(script, timeout_s)

    def screenshot(self, name: str) -> None:
        """Keep a picture of the whole page as `.page/NAME.png`."""
        self.call("screenshot", {"path": str(FOLDER / f"{name}.png"), "fullPage": True})

    def judge(self, state: str) -> None:
        """Keep a picture of the page at every width, light and dark. Nothing is cut off, and axe-core finds nothing."""
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            self.call("setViewportSize", {"width": width, "height": 900})
            self.call("emulateMedia", {"colorScheme": scheme})
            self.call("evaluate", "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            self.screenshot(f"{state}-{width}-{scheme}")
            assert self.call("evaluate", "document.documentElement.scrollWidth") == width, (state, width)
            assert self.violations() == [], (state, width, scheme)

    def violations(self) -> list[str]:
        """What axe-core finds wrong for people who see, hear or move otherwise: the rule, and the elements."""
        found: list[str] = self._ask(do="violations", axe=str(AXE))
        return found

    def told(self) -> dict[str, list[str]]:
        """What the page has done since it was opened: `errors` of script and console, `hosts` that were asked."""
        told: dict[str, list[str]] = self._ask(do="told")
        return told

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop every process of the browser: it keeps its connections, and takes nothing."""
        pids = [self._pid, *_descendants(self._pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _ask(self, **asked: object) -> Any:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps(asked) + "\n")
        self._node.stdin.flush()
        answer = json.loads(self._node.stdout.readline() or '{"error": "the browser has ended"}')
        assert "error" not in answer, answer["error"]
        return answer.get("value")


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Start a browser. Skips the test where `make test-page` has not named one."""
    if BROWSER not in os.environ:
        pytest.skip("the live page was not clicked in a browser: make test-page")
    words = ["node", str(HERE / "driver.js")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        try:
            yield Browser(node)
        finally:
            assert node.stdin is not None
            node.stdin.close()  # it closes the browser
            node.wait(20)


def _descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    children = [int(word) for word in listed.stdout.split()]
    return [*children, *(each for child in children for each in _descendants(child))]
