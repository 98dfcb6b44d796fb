"""Words for what the user typed: command lines and paths, as they can be typed again."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

_USER = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


def command(argv: Sequence[str], *, without: Iterable[str] = (), plus: Sequence[str] = ()) -> str:
    """Word the command line again, but for passwords in its URLs: what is printed is kept by others.

    without: options (with their value) to leave out; plus: words to add.
    """
    dropped = set(without)
    words: list[str] = []
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word in dropped:
            skip = True
        elif word.split("=", 1)[0] not in dropped:
            words.append(_USER.sub("[hidden]@", word))
    end = words.index("--") if "--" in words else len(words)  # behind it everything is taken for a name
    return shlex.join(["bulkdel", *words[:end], *plus, *words[end:]])


def argument(path: Path | str) -> str:
    """A path as it can stand on a command line: not like an option."""
    text = printable(path)
    return f"./{text}" if text.startswith("-") else text


COMMAS = (
    "Their ids have a comma. In a look-up, a server may take such an id for two ids, so it proves nothing that it was "
    "not found"
)
"""Why rows are left although a look-up came back empty."""


def comma_control(id_type: str) -> str:
    """What the user can do about it."""
    return f"Create a user whose {id_type} has a comma, among the first that the API lists; look-ups must find it."


def stamp(epoch: float) -> str:
    """UTC, ISO 8601, milliseconds: how the log writes a time."""
    second, ms = divmod(int(epoch * 1000), 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(4)
def _second(epoch: int) -> str:
    """Two stamps are wanted for every chunk, and at full speed there are thousands of chunks in a second."""
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%S}"


def until_words(at: datetime) -> str:
    """A time of --not-after with its zone."""
    return f"{at:%Y-%m-%d %H:%M} {at:%Z} ({at:%z})"


def printable(path: Path | str) -> str:
    """Make a path fit for JSON and for any terminal: bytes that are no text become question marks."""
    return os.fsencode(path).decode(errors="replace")
