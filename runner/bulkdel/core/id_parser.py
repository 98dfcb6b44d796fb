"""One line or one value of an export to an id, or the reason why not. Owns the checks that every id has to pass.

Knows nothing of files, blocks or positions. Everything here exists twice: `…_row`/`check` say what is wrong with one
row; `…_rows`/`all_usable` answer for many rows at once, and only "all of them are fine", never anything else. The quick
ones may say no to a good batch (the slow ones then look at each row), but must never say yes to a bad one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import orjson

from bulkdel.core.bad_row_reason import Unusable, Why
from bulkdel.core.id_type import IdType, misshapen

TEXT_MAX = 120
"""Characters of a bad row that a message shows: enough to find it by eye, and one line of a wide terminal."""

FED_BACK = ("refused", "unknown")
"""Outcomes of an earlier run that make sense as the input of a new one."""

_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no id contains: control characters, lone surrogates, line and paragraph separators."""

_BARE = re.compile(rb'( *")[^"]*(" *)')
"""A row that is a bare string, as `Member.frame`."""

_CONTROL = bytes(each for each in range(128) if unicodedata.category(chr(each)) == "Cc" and each != ord("\n"))
"""The control characters of ASCII but the line feed, which the quick check puts between ids."""


@dataclass(frozen=True, slots=True)
class IdCheck:
    """What an id has to be.

    id_type: its shape, if it has one.
    others: every type of the job, to say which one a misshapen id looks like.
    trim: take surrounding spaces off instead of refusing them.
    """

    id_type: IdType
    others: Mapping[str, IdType]
    trim: bool = False

    def check(self, id_: str) -> str | Unusable:
        """Return the id as it will be sent, or why it will not be."""
        if "\n" in id_ or "\r" in id_:
            return Unusable(Why.NEWLINE)
        bare = id_.strip()
        if not bare and (self.trim or not id_):
            return Unusable(Why.EMPTY_ID)
        if self.trim:
            id_ = bare
        for char in id_:
            if char == "\ufeff" or unicodedata.category(char) in _FORBIDDEN:
                return Unusable(Why.CONTROL, f"U+{ord(char):04X}")
        if id_ != bare:
            return Unusable(Why.SPACES)
        return misshapen(id_, self.id_type, self.others) or id_

    def all_usable(self, ids: Sequence[str]) -> bool:
        """Whether `check` would return every one of `ids` unchanged. May be wrong in one direction: no for yes."""
        if self.id_type.uniform is not None:
            length, letters = self.id_type.uniform
            text = "".join(ids)
            return set(map(len, ids)) <= {length} and text.isascii() and not text.encode().translate(None, letters)
        if not all(ids):
            return False
        framed = "\n".join(("", *ids, ""))
        if framed.isascii():
            plain = framed.encode()
            if plain.count(b"\n") != len(ids) + 1 or len(plain.translate(None, _CONTROL)) != len(plain):
                return False
        elif not "".join(ids).isprintable():
            # A printable character is no control character, no surrogate and no space but U+0020.
            return False
        if " " in framed and ("\n " in framed or " \n" in framed):
            return False
        shape = self.id_type.shape
        return shape is None or all(map(shape.fullmatch, ids))


def with_pattern(id_type: IdType, pattern: str | None) -> IdType:
    """Return `id_type` with its shape replaced by the user's `pattern`. Raises re.error for one that is no regex."""
    if pattern is None:
        return id_type
    return replace(id_type, shape=re.compile(pattern), uniform=None, shape_text=f"--id-pattern {pattern}")


def shortened(text: str | bytes) -> str:
    """Return a row for the eye: without its line end, at most TEXT_MAX characters."""
    if isinstance(text, bytes):
        text = text[: 4 * TEXT_MAX + 4].decode("utf-8", errors="replace")
    text = text.rstrip("\r\n")
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def id_of_value(value: Any) -> str | Unusable:
    """Return the id that a JSON value is: a string, or an integer of 64 bits digit for digit."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return Unusable(Why.BOOLEAN)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):  # that is also what orjson makes of an integer of more than 64 bits
        return Unusable(Why.INEXACT)
    if value is None:
        return Unusable(Why.NULL)
    return Unusable(Why.OBJECT if isinstance(value, dict) else Why.LIST)


class _Pairs(list[tuple[str, Any]]):
    """The members of one JSON object, in order, repeated names included."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where the id stands in a JSON object.

    path: the names on the way to it, outermost first.
    quoted: each name as it stands in the text of a row when nothing in it is escaped.
    escaped: finds every escape that could spell a character of a name.
    frame: what stands around the id in an object that has nothing else in it, as most exports write all of theirs;
        None where that is not simply a text on either side.
    """

    path: tuple[str, ...]
    quoted: tuple[bytes, ...]
    escaped: re.Pattern[bytes]
    frame: re.Pattern[bytes] | None

    @classmethod
    def of(cls, dotted: str) -> Member:
        """Read `user.id` as the member `id` of the member `user`."""
        path = tuple(dotted.split("."))
        units = dotted.encode("utf-16-be", errors="surrogatepass").hex()
        codes = sorted({units[i : i + 4] for i in range(0, len(units), 4)})
        special = rb'|["\\/bfnrt]' if any(not char.isprintable() or char in '"\\/' for char in dotted) else b""
        escaped = rb"\\(?:u(?i:" + b"|".join(code.encode() for code in codes) + rb")" + special + rb")"
        quoted = tuple(json.dumps(name, ensure_ascii=False).encode() for name in path)
        simple = len(path) == 1 and b"\\" not in quoted[0]
        frame = re.compile(rb'( *\{ *%b *: *")[^"]*(" *\} *)' % re.escape(quoted[0])) if simple else None
        return cls(path, quoted, re.compile(escaped), frame)

    def may_repeat(self, text: bytes, rows: Sequence[Any]) -> bool:
        """Whether a name might stand twice in one of the objects `rows`, parsed from `text`, each of which has it.

        Without escapes each object holds each quoted name at least once, so as many of them as there are objects means
        once in each. When there are more (`{"id": 1, "group": {"id": 2}}`), writing the objects again tells: of a
        repeated member only one comes back, and nothing that is written again adds a quoted name.
        """
        if b"\\" in text and self.escaped.search(text):
            return True
        counts = [text.count(name) for name in self.quoted]
        if all(count == len(rows) for count in counts):
            return False
        try:
            again = orjson.dumps(rows)
        except orjson.JSONEncodeError:  # nested deeper than orjson writes
            return True
        return [again.count(name) for name in self.quoted] != counts

    def find(self, row: Any) -> Any:
        """Return the value in a parsed row. Raises KeyError when there is none."""
        for name in self.path:
            if not isinstance(row, dict):  # a bare id among objects, or something else on the way
                raise KeyError(name)
            row = row[name]
        return row

    def exact(self, line: bytes) -> Unusable | None:
        """Say what is wrong with how a row spells its id, when the quick parser cannot see it; else None."""
        try:
            row: Any = json.loads(line.decode(), object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
        except RecursionError:  # pragma: no cover - from 3.12 on the parser is not bound by this limit
            return Unusable(Why.TOO_DEEP)
        for name in self.path:
            values = [value for key, value in row if key == name]
            if len(values) > 1:
                return Unusable(Why.MEMBER_TWICE, name)
            row = values[0]
        return Unusable(Why.MINUS_ZERO) if row == "-0" else None


def id_of_row(line: bytes, member: Member | None) -> str | Unusable:
    """Return the id of one JSONL line. `member`: None for rows that are bare ids."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _why_not_json(line, error)
    if member is None:
        if isinstance(row, dict):
            return Unusable(Why.NO_BARE_ID)
        return Unusable(Why.MINUS_ZERO) if line.strip() == b"-0" else id_of_value(row)
    try:
        value = member.find(row)
    except KeyError:
        return Unusable(Why.NO_MEMBER, ".".join(member.path))
    if member.may_repeat(line, [row]) or value == 0:
        inexact = member.exact(line)
        if inexact is not None:
            return inexact
    return id_of_value(value)


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> Unusable:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return Unusable(Why.NOT_UTF8, f"byte 0x{line[wrong.start]:02x}, {wrong.start + 1} bytes into the line")
    if not line.strip():
        return Unusable(Why.EMPTY_LINE)
    return Unusable(Why.NOT_JSON, f"{error.msg}, column {error.colno}")


def ids_of_rows(lines: Sequence[bytes], text: bytes, member: Member | None) -> list[str] | None:
    """Return the ids of many JSONL lines, or None when each has to be looked at with `id_of_row`.

    text: the same lines in one piece, line feeds between them.
    """
    framed = _framed(text, len(lines), _BARE if member is None else member.frame)
    if framed is not None:
        return framed
    try:
        rows: list[Any] = list(map(orjson.loads, lines))
        values = rows
        for name in member.path if member else ():
            # Everything that is no object raises: a string is not indexed by a string, nor is a list or a number.
            values = list(map(itemgetter(name), values))
    except (ValueError, KeyError, TypeError):
        return None
    if member is not None and member.may_repeat(text, rows):
        return None
    types = set(map(type, values))
    if types <= {str}:
        return values
    if types <= {str, int} and 0 not in values:  # 0 may have been written -0
        return list(map(str, values))
    return None


def _framed(text: bytes, count: int, frame: re.Pattern[bytes] | None) -> list[str] | None:
    """Return the ids of rows that have the same bytes before and after the id, all of them; else None.

    It parses nothing, which is three times as fast. All line feeds are between two frames, when there are as many parts
    as rows; there are no quotes but those of the frames, when there are no more; and without escapes and control
    characters a text without quotes is a JSON string as it stands. So each row is what `frame` says.
    """
    head = text.split(b"\n", 1)[0]
    found = frame.fullmatch(head) if frame is not None else None
    if found is None or b"\\" in text or len(text.translate(None, _CONTROL)) != len(text):
        return None
    before, after = found.groups()
    if not text.endswith(after) or text.count(b'"') != count * (before + after).count(b'"'):
        return None
    try:
        plain = text[len(before) : len(text) - len(after)].decode()
    except UnicodeDecodeError:
        return None
    ids = plain.split((after + b"\n" + before).decode())
    return ids if len(ids) == count else None


def refused_as_result(row: Any) -> str | None:
    """Return the outcome that keeps a row of an earlier run's results from being sent, or None.

    Only what was refused or is unknown is worth another try; deleting the rest "again" can hit another account.
    """
    if not isinstance(row, Mapping) or "outcome" not in row or row["outcome"] in FED_BACK:
        return None
    return str(row["outcome"])
