"""Every distinct line that the commands of the tests print, in one file for a person to read: `make messages`.

A line is kept once for all numbers, ids, times, addresses and folders that are in it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

FOLDER = "TESTS_MESSAGES"
"""In the environment: the folder that each process of the tests writes a file into."""

ALIKE = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"/[^\s'\":,]*(?:pytest-of-|pytest-)[^\s'\":,]*/"), "FOLDER/"),
    (re.compile(r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?"), "http://HOST"),
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{24}\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b"), "ID"),
    (re.compile(r"\d\d\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\d[\d,.:]*"), "9"),
)
"""What differs from test to test, and what stands in its place."""

_seen: set[str] = set()


def alike(line: str) -> str:
    """A line, the same for all numbers, ids, times, addresses and folders."""
    for pattern, word in ALIKE:
        line = pattern.sub(word, line)
    return line.rstrip()


def are_kept() -> bool:
    """Whether the lines are kept: `make messages`."""
    return FOLDER in os.environ


def keep(*texts: str) -> None:
    """Write the lines that this process has not kept yet, where a folder for them is named."""
    if not are_kept():
        return
    new = dict.fromkeys(line for text in texts for line in map(alike, text.splitlines()) if line not in _seen)
    _seen.update(new)
    with (Path(os.environ[FOLDER]) / str(os.getpid())).open("a", encoding="utf-8") as kept:
        kept.writelines(f"{line}\n" for line in new)


def main(folder: str, out: str) -> None:
    """Write the lines of all processes, each once, in order, to one file."""
    lines = {line for file in Path(folder).iterdir() for line in file.read_text(encoding="utf-8").splitlines()}
    Path(out).write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
