"""Numbers, times and paths as text, for messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bulkdel.core.address import address_of, shown_address

CLOSE = 0.75
"""How alike two words are, from 0 to 1, before a word that has a meaning of its own is taken for a slip."""


def counted(count: int, noun: str, verb: str = "", verb_plural: str = "") -> str:
    """`1 row`, `2,000 rows`, `2 retries`; with verbs `1 row is`, `2 rows are`."""
    if count != 1:
        noun = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
        verb = verb_plural
    return f"{count:,} {noun} {verb}".rstrip()


def span(seconds: float) -> str:
    """A duration: 42 s, 3 min, 2 h 5 min."""
    whole = round(seconds)
    if whole == 0:
        return "less than a second"
    if whole < 100:  # noqa: PLR2004 - shorter durations are given in seconds
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def amount(size: int) -> str:
    """A number of bytes: 512 bytes, 1.2 MB, 34.0 GB."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return counted(size, "byte")


def session_lines(summary: Mapping[str, Any], which: str = "this session") -> list[str]:
    """The lines of a summary about a session and its run, the same for `run` and `verify`."""
    requests, retries = counted(summary["requests"], "request"), counted(summary["retries"], "retry")
    return [
        f"{which}: {requests} in {span(summary['duration_s'])}, {retries}, {summary['throttled']:,} answered 429",
        f"run        {summary['run']}, sha256 {summary['log_sha256']}",
    ]


def until_words(at: datetime) -> str:
    """A time of --not-after with its zone."""
    return f"{at:%Y-%m-%d %H:%M} {at:%Z} ({at:%z})"


def to_install(extra: str) -> str:
    """The command that installs this extra."""
    return f"pip install '.[{extra}]' in the clone of bulkdel"


def did_you_mean(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """The word of the known ones that is most like this one, as a question; empty when none is like it.

    least: how alike they are at least, from 0 to 1.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only a refusal needs it

    alike = get_close_matches(word, list(known), 1, least)
    return f" Did you mean {shown(alike[0])}?" if alike else ""


def first_of(texts: Sequence[str], most: int) -> str:
    """The first of some texts, and a sign that there are more."""
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")


def located(name: str) -> str:
    """Where a file is, as the log has it: its whole path, or its address without what may be a secret."""
    return printable(Path(name).absolute()) if address_of(name) is None else shown_address(name)


_STEERING = re.compile("[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""A half of a character, which JSON may have, but those that stand for a byte in the name of a file (PEP 383)."""


def steers(text: str) -> bool:
    """Whether a text ends a line, steers a terminal or turns the order of what it shows. A tab does not."""
    return _STEERING.search(text) is not None


def shown(text: object) -> str:
    """A text that another person or a server may have written, fit for any terminal and for one line.

    Characters that cannot be printed, such as a line break or the beginning of a terminal's command, are escaped.
    """
    return _escaped(printable(str(text)), "")


def shown_host(host: object) -> str:
    """A host that only a file names. Characters outside ASCII are escaped: otherwise it could look like another one."""
    return shown(host).encode("ascii", "backslashreplace").decode()


def lines_shown(text: str) -> str:
    """The same for a whole output of several lines: no text in it steers the terminal. `bulkdel.output` uses it."""
    return text if text.isprintable() else _escaped(text, "\n")


def _escaped(text: str, kept: str) -> str:
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def printable(path: Path | str) -> str:
    """A path or a text, fit for JSON: a byte that is not UTF-8 and a lone surrogate become U+FFFD.

    On a terminal it is `shown`.
    """
    return _LONE_SURROGATE.sub("\ufffd", str(path)).encode("utf-8", "surrogateescape").decode(errors="replace")
