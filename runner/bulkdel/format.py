"""Command lines and paths as they can be typed again; times and counts as the log and the user read them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

_USER = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line taken apart: it is printed again with other names, and with options added or left out.

    command: the first word. names: the arguments that are no option, such as job and export; paths are not quoted yet.
    options: name of each option, and the words that it was typed with.
    """

    command: str
    names: tuple[str, ...] = ()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str], flags: Collection[str]) -> Self:
        """Take apart what was typed. flags: the options that take no value."""
        names: list[str] = []
        options: list[tuple[str, tuple[str, ...]]] = []
        rest = iter(words[1:])
        for word in rest:
            if word == "--":
                names += rest
            elif not is_option(word):
                names.append(word)
            else:
                name = word.partition("=")[0].replace("_", "-")
                alone = "=" in word or name in flags
                options.append((name, (word,) if alone else (word, next(rest, ""))))
        return cls(words[0] if words else "", tuple(names), tuple(options))

    def has(self, option: str) -> bool:
        """Whether the option was typed."""
        return any(name == option for name, _ in self.options)

    def without(self, *options: str) -> Self:
        """Leave these options out."""
        return replace(self, options=tuple(each for each in self.options if each[0] not in options))

    def plus(self, option: str, *values: str) -> Self:
        """Add an option once for each value; without a value it is a flag."""
        added = tuple((option, _typed(option, value)) for value in values) or ((option, (option,)),)
        return replace(self, options=(*self.options, *added))

    def instead(self, option: str, *values: str) -> Self:
        """Give the option these values and no others."""
        return self.without(option).plus(option, *values)

    @property
    def words(self) -> list[str]:
        """The words to type, but for passwords in URLs: what is printed is kept by others."""
        typed = [word for _, words in self.options for word in words]
        return [_USER.sub("[hidden]@", word) for word in ("bulkdel", self.command, *map(argument, self.names), *typed)]

    def __str__(self) -> str:
        return shlex.join(self.words)


def is_option(word: str) -> bool:
    """Whether a word of a command line is an option; `-` is standard input."""
    return word.startswith("-") and word != "-"


def _typed(option: str, value: str) -> tuple[str, ...]:
    return (f"{option}={value}",) if value.startswith("-") else (option, value)


def argument(path: Path | str) -> str:
    """A path as it can stand on a command line: not like an option."""
    text = printable(path)
    return f"./{text}" if is_option(text) else text


COMMAS = (
    "Their ids have a comma. In a look-up, a server may take such an id for two ids, so it proves nothing that it was "
    "not found"
)
"""Why rows are left although a look-up came back empty."""


def comma_control(id_type: str) -> str:
    """What the user can do about it."""
    return f"Create a user whose {id_type} has a comma, among the first that the API lists; look-ups must find it."


def quoted(path: Path | str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(argument(path))


def counted(count: int, noun: str, verb: str = "", verb_plural: str = "") -> str:
    """`1 row`, `2,000 rows`, `2 retries`; with verbs `1 row is`, `2 rows are`."""
    if count != 1:
        noun = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
        verb = verb_plural
    return f"{count:,} {noun} {verb}".rstrip()


def span(seconds: float) -> str:
    """Word a duration for people: 42 s, 3 min, 2 h 5 min."""
    whole = round(seconds)
    if whole == 0:
        return "less than a second"
    if whole < 100:  # noqa: PLR2004 - below that seconds are what people count in
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def session_lines(summary: Mapping[str, Any]) -> list[str]:
    """Word what a summary says of its session and its checkpoint, the same for `run` and `verify`."""
    requests, retries = counted(summary["requests"], "request"), counted(summary["retries"], "retry")
    return [
        f"this session: {requests} in {span(summary['duration_s'])}, {retries}, {summary['throttled']:,} answered 429",
        f"checkpoint {summary['checkpoint']}, sha256 {summary['log_sha256']}",
    ]


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
