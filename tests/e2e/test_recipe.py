"""The commands of README.md and docs/guide.md, typed as they stand there: each prints what the page shows.

A line of dots on a page stands for any lines. Port, dates, hashes, names and speed differ from run to run.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import COMMAND, KEYS, Ran, bulkdel, environment
from tests.pages import GUIDE, README, sessions

PORT, MORNING_H, RATE = "4711", 9, 2000

VARIES = (
    (r"(?m)^(opening|reading) the .*\n", ""),  # how far a slow machine is
    (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\d{4}-\d\d-\d\d( 18:00 \S+ \(\S+\))?", "DATE"),
    (r"\b[0-9a-f]{64}\b", "SHA256"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (rf" --rate {RATE}\b", ""),
    (r"at \d+ requests/s, about [\w ]+", "at RATE"),
    (r"[\d,]+ requests in [\w ]+,", "REQUESTS"),
    (r"\b[1-9]\d* of 200 in the sample, so about [\d,]+ of all", "SAMPLE"),
    (r"200 of 200 looked up exist \(.*\)|sign-ins   .*", "SAMPLE"),
    (r"\S+ on \S+, bulkdel \S+", "USER"),
    (r"line \d+: TIME|\d+ commits|[\d,]+ bytes", "SIZE"),
    (r'"requests": \d+|"duration_s": [\d.]+', "SPENT"),
)


def alike(text: str, folder: Path) -> str:
    """A text without what differs from run to run."""
    text = text.replace(str(folder), "/home/you")
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text


def assert_shown(shown: str, ran: Ran, folder: Path) -> None:
    """Compare what a page shows with what a command has said: on stdout, on stderr, or on both."""
    wanted = re.escape(alike(shown, folder)).replace("…\\\n", "(?:.*\n)*")
    said = (ran.out, ran.err, ran.out + ran.err)
    assert any(re.fullmatch(wanted, alike(each, folder)) for each in said), (
        f"shown:\n{shown}\nsaid:\n{ran.out}{ran.err}"
    )


def in_the_morning() -> str:
    """A time zone in which 18:00 is far away."""
    return f"HERE{(datetime.now(UTC).hour - MORNING_H) % 24}"


@contextmanager
def sandbox(command: str, folder: Path) -> Iterator[str]:
    """Start the sandbox of a page. Yields its port, when its files are written."""
    words = shlex.split(command.replace(f"--port {PORT}", "--port 0"))
    with subprocess.Popen([*COMMAND, *words[1:]], cwd=folder, env=environment({}), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            yield str(json.loads(served.stdout.readline())["url"]).rpartition(":")[2]
        finally:
            served.terminate()


@pytest.mark.parametrize("page", [README, GUIDE], ids=lambda page: page.stem)
def test_the_recipe(page: Path, tmp_path: Path) -> None:
    (first, _), *commands = sessions(page)
    with sandbox(first, tmp_path) as port:
        for command, shown in commands:
            words = shlex.split(command.replace(PORT, port))
            assert words[0] == "bulkdel", command
            ran = bulkdel(*words[1:], cwd=tmp_path, env={**KEYS, "TZ": in_the_morning(), "BULKDEL_RATE": str(RATE)})
            assert_shown(shown.replace(PORT, port), ran, tmp_path)
