"""How a test failed: by an assertion of its own, or because the program crashed. A plugin for pytest in the copy."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

REPORT = "killed.json"
CRASH = re.compile(r'File "[^"]*/(?:bulkdel|bulkdel_jobs)/[^"]*", line \d+, in |this is a bug in this program')
"""A frame of a traceback through the program, or the last words of a command that had one."""


def culprits(error: BaseException) -> list[BaseException]:
    """The error, or what it groups: hypothesis puts several failures of one test into a group."""
    if isinstance(error, BaseExceptionGroup):
        return [
            culprit for one in cast("BaseExceptionGroup[BaseException]", error).exceptions for culprit in culprits(one)
        ]
    return [error]


def last_file(error: BaseException) -> Path:
    """The file of the line that raised it."""
    frame = error.__traceback__
    assert frame is not None
    while frame.tb_next is not None:
        frame = frame.tb_next
    return Path(frame.tb_frame.f_code.co_filename)


def fault_of(error: BaseException, root: Path) -> str | None:
    """Why this error does not count as a kill; None for an assertion of the test."""
    for culprit in culprits(error):
        if not isinstance(culprit, (AssertionError, pytest.fail.Exception)):
            return f"the test did not fail by an assertion, but by {type(culprit).__qualname__}: {culprit}"
        file = last_file(culprit)
        if any(file.is_relative_to(root / package) for package in ("runner", "jobs")):
            return f"the assertion that failed is the program's own, in {file.relative_to(root)}"
    return None


class Watch:
    """Writes REPORT into `root`: for each failure why it does not count as a kill, None where it does; and crashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[str | None] = []
        self.crashes: list[str] = []
        told, read = subprocess.Popen.communicate, os.read
        latest: dict[int, bytes] = {}

        # An assertion about an exit code need not show what the command said, so that is read where it comes in.
        def communicate(process: Any, *args: Any, **kwargs: Any) -> Any:
            said = told(process, *args, **kwargs)
            for text in said:
                self._look_for_crash(text.decode(errors="replace") if isinstance(text, bytes) else text or "")
            return said

        def read_and_look(fd: int, length: int, /) -> bytes:
            latest[fd] = (latest.get(fd, b"") + (data := read(fd, length)))[-4_000:]
            self._look_for_crash(latest[fd].decode(errors="replace"))
            return data

        subprocess.Popen.communicate = communicate  # type: ignore[assignment,method-assign]
        os.read = read_and_look

    def _look_for_crash(self, text: str) -> None:
        if CRASH.search(text):
            self.crashes.append(text[-2_000:])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.excinfo is not None and report.failed:
            where = "" if call.when == "call" else f"{call.when}: "
            fault = fault_of(call.excinfo.value, self.root)
            self.faults.append(fault and where + fault)
            self._look_for_crash(f"{report.capstderr}\n{report.capstdout}\n{report.caplog}")
        return report

    def pytest_sessionfinish(self) -> None:
        (self.root / REPORT).write_text(json.dumps({"faults": self.faults, "crashes": self.crashes}))
