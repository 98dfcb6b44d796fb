"""Turns one line or value of an export into an id, or into the reason why it has none. Owns the checks of every id.

Knows no file, block or position. The reason is a value (`Unusable`), not an exception. An id that the API refuses is
another matter: see `core.chunk_state`. `export.csv` parts a row into cells.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

import orjson

from bulkdel.core.alike import is_unseen
from bulkdel.core.bad_rows import Unusable, Why
from bulkdel.core.id_type import IdType, misshapen
from bulkdel.core.nesting import is_deep_record
from bulkdel.core.table_cells import NOT_TEXT, why_not

TEXT_MAX = 120
"""Characters of a bad row that a message shows: enough to find it by eye, and one line of a wide terminal."""

FED_BACK = ("refused", "unknown")
"""Outcomes of an earlier run that may be sent again."""

_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that an id must not contain: control characters, lone surrogates, line separators."""

_JOINERS = frozenset({"\u200c", "\u200d"})
"""Format characters (Cf) that change how the letters beside them look. Persian and Indic names have them."""

_JOINED = re.compile(
    "(?:ARABIC|SYRIAC|NKO|MANDAIC|DEVANAGARI|BENGALI|GURMUKHI|GUJARATI|ORIYA|TAMIL|TELUGU|KANNADA|MALAYALAM|SINHALA"
    "|KHMER|MYANMAR|BALINESE|JAVANESE|MONGOLIAN) "
)
"""The scripts of these letters, as the names of characters begin."""


@dataclass(frozen=True, slots=True)
class IdCheck:
    """The checks of an id.

    id_type: its shape, if it has one.
    others: every type of the job, to name the one that a misshapen id looks like.
    trim: take surrounding spaces off instead of refusing them.
    visible: refuse an id with a character that cannot be seen. The API may take one, so an export may have one.
    """

    id_type: IdType
    others: Mapping[str, IdType]
    trim: bool = False
    visible: bool = False

    def check(self, id_: str) -> str | Unusable:
        """Return the id as it will be sent, or why it cannot be sent."""
        if "\n" in id_ or "\r" in id_:
            return Unusable(Why.NEWLINE)
        bare = id_.strip()
        if not bare:
            return Unusable(Why.EMPTY_ID)
        if self.trim:
            id_ = bare
        # Printable text has no forbidden character.
        if not id_.isprintable() and (wrong := why_not(id_) or _forbidden(id_)) is not None:
            return wrong
        if self.visible and not id_.isascii() and (unseen := _unseen(id_)) is not None:
            return unseen
        if id_ != bare:
            return Unusable(Why.SPACES)
        return misshapen(id_, self.id_type, self.others) or id_

    def check_all(self, ids: list[str]) -> list[str | Unusable]:
        """Return what `check` returns for each of `ids`. Raises TypeError when one of them is no string."""
        joined = "\n".join(ids)
        if self.id_type.uniform is not None:  # takes a tenth of the time of a pattern for each id
            length, letters = self.id_type.uniform
            text, ends = joined.encode(errors="replace"), b"\n" * (len(ids) - 1)
            in_place = len(text) == len(ids) * (length + 1) - 1 and text[length :: length + 1] == ends
            if in_place and text.translate(None, letters) == ends:
                return cast("list[str | Unusable]", ids)
        return [self.check(id_) for id_ in ids]


def _forbidden(id_: str) -> Unusable | None:
    """The first character that an id must not contain; None without one."""
    for char in id_:
        if char == "\ufeff" or unicodedata.category(char) in _FORBIDDEN:
            return Unusable(Why.CONTROL, f"U+{ord(char):04X}")
    return None


def _unseen(id_: str) -> Unusable | None:
    """The first character that cannot be seen; None without one. A joiner counts unless it is between its letters."""
    for at, char in enumerate(id_):
        between = char in _JOINERS and 0 < at < len(id_) - 1 and _is_joined(id_[at - 1]) and _is_joined(id_[at + 1])
        if is_unseen(char) and not between:
            return Unusable(Why.INVISIBLE, f"U+{ord(char):04X}")
    return None


def _is_joined(char: str) -> bool:
    return unicodedata.category(char)[0] in "LM" and _JOINED.match(unicodedata.name(char, "")) is not None


def shortened(text: str | bytes) -> str:
    """Return the text of a row for a message: without its line end, at most TEXT_MAX characters."""
    if isinstance(text, bytes):
        text = text[: 4 * TEXT_MAX + 4].decode("utf-8", errors="replace")
    text = text.rstrip("\r\n").removeprefix(NOT_TEXT)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def id_of_value(value: Any) -> str | Unusable:
    """Return the id that a JSON value is: a string, or an integer of 64 bits digit for digit."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return Unusable(Why.BOOLEAN)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):  # orjson also returns a float for an integer of more than 64 bits
        return Unusable(Why.INEXACT)
    if value is None:
        return Unusable(Why.NULL)
    return Unusable(Why.OBJECT if isinstance(value, dict) else Why.LIST)


class _Pairs(list[tuple[str, Any]]):
    """The members of one JSON object, in order, repeated names included."""


@dataclass(frozen=True, slots=True)
class Member:
    """The member of a JSON object that holds the id. path: the names that lead to it, outermost first."""

    path: tuple[str, ...]

    def find(self, row: Any) -> Any:
        """Return the value in a parsed row. Raises KeyError when there is none."""
        for name in self.path:
            if not isinstance(row, dict):  # a bare id among objects, or another value on the path
                raise KeyError(name)
            row = row[name]
        return row

    def exact(self, line: bytes) -> Unusable | None:
        """Find faults in how a row spells its id that orjson does not report; None without one."""
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


def ids_of_lines(text: bytes, member: Member | None, check: IdCheck) -> list[str | Unusable]:
    """Return for each JSONL line its id, or why it has none. member: None for rows that are bare ids.

    text: the lines; the last one may have no line feed.

    When every line has a string in the place of its id, as nearly always, the lines are parsed together. Otherwise each
    line is parsed alone.
    """
    lines = text.removesuffix(b"\n").split(b"\n")
    values: Iterable[Any] = map(orjson.loads, lines)
    for name in member.path if member else ():
        values = map(itemgetter(name), values)
    try:
        found = check.check_all(list(values))
    except (ValueError, KeyError, TypeError):  # TypeError: a row is no object, or its id no string
        found = []
    # A row of an earlier run's results has this name; an escape of a small letter begins with one of these.
    outcome = member and (b'"outcome"' in text or (b"\\" in text and (b"\\u006" in text or b"\\u007" in text)))
    if found and not (member and (outcome or _may_repeat(text, lines, member))):
        return found
    ids = [id_of_line(line, member) for line in lines]
    return [check.check(id_) if isinstance(id_, str) else id_ for id_ in ids]


def ids_of_records(text: bytes, member: Member, check: IdCheck) -> list[str | Unusable]:
    """Return for each JSONL line, a whole record, its id, or why it has none."""
    ids = [_id_of_record(line, member) for line in text.removesuffix(b"\n").split(b"\n")]
    return [check.check(id_) if isinstance(id_, str) else id_ for id_ in ids]


def value_of_record(line: bytes) -> Any:
    """Read one JSONL line, a whole record. Raises orjson.JSONDecodeError.

    A record may hold what orjson refuses: a lone surrogate in an escape, which JavaScript leaves where it cuts an emoji
    in two. So another parser reads the line then.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line.decode(), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise error from None


def _id_of_record(line: bytes, member: Member) -> str | Unusable:
    try:
        row = value_of_record(line)
    except orjson.JSONDecodeError as error:
        return _why_not_json(line, error)
    return Unusable(Why.TOO_DEEP) if is_deep_record(line, row) else _id_of_member(row, line, member)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def ids_of_plain_lines(text: bytes, check: IdCheck) -> list[str | Unusable]:
    """Return for each line of a plain list its id, or why it has none."""
    ids: list[str | Unusable] = []
    for line in text.removesuffix(b"\n").split(b"\n"):
        try:
            id_ = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            ids.append(_not_utf8(line, error))
        else:
            ids.append(check.check(id_) if id_.strip() else Unusable(Why.EMPTY_LINE))
    return ids


def id_of_line(line: bytes, member: Member | None) -> str | Unusable:
    """Return the id of one JSONL line, not yet checked, or why it has none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _why_not_json(line, error)
    if member is None:
        if isinstance(row, dict):
            return Unusable(Why.NO_BARE_ID)
        return Unusable(Why.MINUS_ZERO) if line.strip() == b"-0" else id_of_value(row)
    return _id_of_member(row, line, member)


def _id_of_member(row: Any, line: bytes, member: Member) -> str | Unusable:
    if (outcome := refused_as_result(row)) is not None:
        return Unusable(Why.RESULT, repr(outcome))
    try:
        value = member.find(row)
    except KeyError:
        return Unusable(Why.NO_MEMBER, ".".join(member.path))
    if value == 0 or _may_repeat(line, [line], member):
        inexact = member.exact(line)
        if inexact is not None:
            return inexact
    return id_of_value(value)


def _may_repeat(text: bytes, lines: Sequence[bytes], member: Member) -> bool:
    r"""Whether a name of the member's path may stand twice in one of its objects. text: all the lines.

    Each line has each name. So if the text has a name as often as it has lines, no line has it twice. Escapes can spell
    a name in other ways, and another object may have the same name. In these cases the parsed values are serialised:
    orjson keeps the last of two members with one name, so the quotes of a dropped name are then missing. Only `\u0022`
    adds a quote when it is serialised.
    """
    if b"\\" not in text and all(text.count(b'"%b"' % name.encode()) == len(lines) for name in member.path):
        return False  # saves a tenth of the preflight
    if b"\\u0022" in text:
        return True
    try:
        return text.count(b'"') != sum(orjson.dumps(orjson.loads(line)).count(b'"') for line in lines)
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):  # nested deeper than orjson writes; a lone surrogate
        return True


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> Unusable:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return _not_utf8(line, wrong)
    if not line.strip():
        return Unusable(Why.EMPTY_LINE)
    return Unusable(Why.NOT_JSON, f"{error.msg}, column {error.colno}")


def _not_utf8(line: bytes, error: UnicodeDecodeError) -> Unusable:
    return Unusable(Why.NOT_UTF8, f"byte 0x{line[error.start]:02x}, {error.start + 1} bytes into the line")


def refused_as_result(row: Any) -> str | None:
    """Return the outcome for which a row of an earlier run's results is refused; None when it may be sent.

    Only refused and unknown ids may be sent again. Another id may belong to a new account by now.
    """
    if not isinstance(row, Mapping) or "outcome" not in row or row["outcome"] in FED_BACK:
        return None
    return str(row["outcome"])
