"""One line or one value to an id or a reason; and the quick ways never say yes where the slow ones say no."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.bad_rows import Unusable, Why
from bulkdel.core.id_parser import (
    TEXT_MAX,
    IdCheck,
    Member,
    id_of_line,
    id_of_value,
    ids_of_lines,
    ids_of_plain_lines,
    ids_of_records,
    refused_as_result,
    shortened,
)
from bulkdel.core.id_type import IdType
from bulkdel.core.nesting import RECORD_DEPTH_MAX
from bulkdel.errors import UsageError
from bulkdel.export.rows import ReadOptions
from bulkdel_jobs.genauth.id_types import ID_TYPES
from tests.examples import examples
from tests.mutants import mutant
from tests.sourcefiles import TYPES, UID
from tests.syntax import swap


def check(id_type: str = "external_id", *, trim: bool = False) -> IdCheck:
    return IdCheck(TYPES[id_type], TYPES, trim=trim)


def reason(found: str | Unusable) -> str:
    assert isinstance(found, Unusable), found
    return found.words


UNSEEN = [
    *("\u200b", "\u00ad", "\u2060", "\u200e", "\u202a", "\u2066"),
    *("\u3164", "\uffa0", "\u115f", "\u034f", "\u2800", "\ufe0f", "\ufe00", "\U000e0100", "\U000e0041", "\u180e"),
    *("\u200c", "\u200d"),  # no letter of a script with joiners is beside it
]


@pytest.mark.parametrize("char", UNSEEN)
def test_an_id_of_an_exclude_file_has_no_invisible_character(char: str) -> None:
    """A person does not see why it protects no account. In an export it may be the id of an account."""
    visible = IdCheck(TYPES["external_id"], TYPES, visible=True)
    assert reason(visible.check(f"a{char}b")) == f"the invisible character U+{ord(char):04X} in the id"
    assert visible.check_all(["ab", f"b{char}"])[0] == "ab"
    assert check().check(f"a{char}b") == f"a{char}b"


@pytest.mark.parametrize("id_", ["\u0645\u06cc\u200c\u062e", "\u0d9a\u0dca\u200d\u0dc2", "José", "a b"])
def test_joiners_are_letters_that_a_person_sees(id_: str) -> None:
    visible = IdCheck(TYPES["external_id"], TYPES, visible=True)
    assert visible.check(id_) == id_
    for joiner in {"\u200c", "\u200d"} & set(id_):
        for moved in (
            id_.replace(joiner, "") + joiner,
            joiner + id_,
            id_.replace(joiner, joiner * 2),
            f"{id_}a{joiner}b",
        ):
            assert reason(visible.check(moved)) == f"the invisible character U+{ord(joiner):04X} in the id"


@pytest.mark.parametrize(
    ("id_type", "id_", "why"),
    [
        ("external_id", "", "an empty id"),
        ("external_id", "a\nb", "a newline in the id"),
        ("external_id", "a\r", "a newline in the id"),
        ("external_id", "a\0b", "the control character U+0000 in the id"),
        ("external_id", "a\tb", "the control character U+0009 in the id"),
        ("external_id", "a\x7f", "the control character U+007F in the id"),
        ("external_id", "a\x85b", "the control character U+0085 in the id"),
        ("external_id", "a\u2028b", "the control character U+2028 in the id"),
        ("external_id", "\ufeffab", "the control character U+FEFF in the id"),
        ("external_id", "a\ud800", "the control character U+D800 in the id"),
        ("external_id", " a", "spaces around the id (--trim takes them off)"),
        ("external_id", "a ", "spaces around the id (--trim takes them off)"),
        ("external_id", "a\u00a0", "spaces around the id (--trim takes them off)"),
        ("external_id", "   ", "an empty id"),
        ("user_id", "6319A1504F3AAAAAF214DD5B", "not a user_id (24 lower-case hex digits)"),
        ("user_id", "7.3928E+23", "not a user_id (24 lower-case hex digits); looks like a spreadsheet rewrote it"),
        ("user_id", "a@b.c", "not a user_id (24 lower-case hex digits); looks like email"),
        ("user_id", "4912345", "not a user_id (24 lower-case hex digits); looks like phone"),
        ("phone", "73928e05", "not a phone (digits); looks like a spreadsheet rewrote it"),
        ("identity", UID, "not an identity (<extIdpId>:<userIdInIdp>); looks like user_id"),
    ],
)
def test_an_id_that_is_none(id_type: str, id_: str, why: str) -> None:
    assert reason(check(id_type).check(id_)) == why


@pytest.mark.parametrize(
    ("id_type", "id_"),
    [
        ("user_id", UID),
        ("external_id", "0012"),
        ("external_id", "7.3928E+23"),
        ("username", "Jörg Müller"),
        ("username", "می‌خواهم"),  # with a zero-width non-joiner, as Persian is written
        ("username", "a\u00a0b"),
        ("email", "A@b.c"),
    ],
)
def test_an_id_that_is_one_comes_back_unchanged(id_type: str, id_: str) -> None:
    assert check(id_type).check(id_) == id_


@pytest.mark.parametrize(
    ("id_", "found"),
    [
        (" a ", "a"),
        ("\ta\u00a0", "a"),
        ("a", "a"),
        ("", "an empty id"),
        ("  ", "an empty id"),
        ("a\n", "a newline in the id"),
    ],
)
def test_trim_takes_spaces_off_and_nothing_else(id_: str, found: str) -> None:
    got = check(trim=True).check(id_)
    assert (got.words if isinstance(got, Unusable) else got) == found


@pytest.mark.parametrize("id_type", [each for each in ID_TYPES.values() if each.uniform])
@given(
    st.lists(
        st.text("0123456789abcdefABgé \n?\ud800", min_size=23, max_size=25) | st.text("0123456789abcdef", min_size=24),
        min_size=1,
        max_size=3,
    )
)
def test_many_ids_are_judged_as_each_of_them(id_type: IdType, ids: list[str]) -> None:
    """One question about all of them, or one about each."""
    assert id_type.shape is not None
    careful = IdCheck(id_type, ID_TYPES)
    found = careful.check_all(ids)
    assert found == [careful.check(id_) for id_ in ids]
    assert (found is ids) is all(map(id_type.shape.fullmatch, ids))


def test_a_pattern_replaces_the_shape_and_names_itself() -> None:
    ours = ReadOptions(TYPES["user_id"], TYPES, id_pattern="u-[0-9]+").id_check()
    assert ours.check("u-1") == "u-1"
    assert reason(ours.check("u-1x")) == "not a user_id (--id-pattern u-[0-9]+)"
    with pytest.raises(UsageError, match="not a regular expression"):
        ReadOptions(TYPES["user_id"], TYPES, id_pattern="(").id_check()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("x", "x"),
        (12, "12"),
        (-7, "-7"),
        (2**64 - 1, "18446744073709551615"),
        (
            1.5,
            Unusable(Why.INEXACT),
        ),
        (True, Unusable(Why.BOOLEAN)),
        (None, Unusable(Why.NULL)),
        ({}, Unusable(Why.OBJECT)),
        ([], Unusable(Why.LIST)),
    ],
)
def test_a_json_value(value: Any, found: str | Unusable) -> None:
    assert id_of_value(value) == found


NUMBER = "a number with a fraction, an exponent or more than 64 bits is no exact id; write it as a string"


@pytest.mark.parametrize(
    ("line", "member", "found"),
    [
        (b'"a"', None, "a"),
        (b' "a"\r', None, "a"),
        (b"17", None, "17"),
        (b"-9223372036854775808", None, "-9223372036854775808"),
        (b'{"id":"a"}', "id", "a"),
        (b'{"id": 5, "x": {"id": "b"}}', "id", "5"),
        (b'{"id": 5, "x": "id", "y": "\\"id\\"", "z": "\\u0022id"}', "id", "5"),
        (b'{"x": {"id": "b"}}', "x.id", "b"),
        (b'{"id": 0, "x": -0}', "id", "0"),
        (b'{"\\u0069d": "a"}', "id", "a"),
        ('{"größe": "a"}'.encode(), "größe", "a"),
        (b'{"gr\\u00F6\\u00dfe": "a"}', "größe", "a"),
        (b'{"\\ud83d\\ude00": "a"}', "😀", "a"),
        (b'{"a\\"b": "x"}', 'a"b', "x"),
        (b'{"a\\u0022b": "x"}', 'a"b', "x"),
    ],
)
def test_a_line_with_an_id(line: bytes, member: str | None, found: str) -> None:
    where = Member(tuple(member.split("."))) if member else None
    assert id_of_line(line, where) == found
    assert ids_of_lines(line + b"\n", where, FREE) == [found]


@pytest.mark.parametrize(
    ("line", "member", "why"),
    [
        (b"", None, "an empty line"),
        (b"  \r", "id", "an empty line"),
        (b"abc", None, "not JSON: "),
        (b'"a","b"', None, "not JSON: "),
        (b'{"id":"a"', "id", "not JSON: "),
        (b'\xef\xbb\xbf"a"', None, "not JSON: "),
        (b'"\\ud800"', None, "not JSON: "),
        (b'"a\0b"', None, "not JSON: "),
        (b'"\xff"', None, "not UTF-8: byte 0xff, 2 bytes into the line"),
        (b"18446744073709551616", None, NUMBER),
        (b"-9223372036854775809", None, NUMBER),
        (b"1.0", None, NUMBER),
        (b"7.3928E+23", None, NUMBER),
        (b"-0", None, "the number -0 is no id"),
        (b"007", None, "not JSON: "),
        (b"true", None, "a boolean is no id"),
        (b"null", None, "null is no id"),
        (b'{"id":"a"}', None, "an object, where the first row is a bare id"),
        (b'["a"]', None, "a list is no id"),
        (b'"a"', "id", "no member id"),
        (b'{"ID":"a"}', "id", "no member id"),
        (b'{"x":"a"}', "x.id", "no member x.id"),
        (b'{"id":{}}', "id", "an object is no id"),
        (b'{"id":null}', "id", "null is no id"),
        (b'{"id":-0}', "id", "the number -0 is no id"),
        (b'{"id":false}', "id", "a boolean is no id"),
        (b'{"id":"a","id":"b"}', "id", "the member id stands there twice"),
        (b'{"id":"a","\\u0069d":"b"}', "id", "the member id stands there twice"),
        (b'{"x":{"id":1},"x":{"id":2}}', "x.id", "the member x stands there twice"),
        (b'{"x":{"id":1,"id":1}}', "x.id", "the member id stands there twice"),
    ],
)
def test_a_line_without_an_id(line: bytes, member: str | None, why: str) -> None:
    where = Member(tuple(member.split("."))) if member else None
    found = id_of_line(line, where)
    assert isinstance(found, Unusable)
    # After the colon the words are orjson's.
    assert found.words.startswith(why) if why == "not JSON: " else found.words == why
    assert ids_of_lines(b'"a"\n' + line + b"\n", where, FREE)[1] == found


def test_a_repeated_member_below_a_depth_that_python_does_not_read_is_refused() -> None:
    for deep in (100, 500, 1020):
        line = b'{"id":"a","id":"b","x":' + b"[" * deep + b"]" * deep + b"}"
        assert reason(id_of_line(line, Member(("id",)))) in ("nested too deep", "the member id stands there twice")
        assert ids_of_lines(line + b"\n", Member(("id",)), FREE) == [id_of_line(line, Member(("id",)))]


FREE = IdCheck(IdType("any"), {})


def checked(line: bytes, member: Member | None) -> str | Unusable:
    found = id_of_line(line, member)
    return FREE.check(found) if isinstance(found, str) else found


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


LINE = st.sampled_from(
    rb"""
"a"|"b"|"a","b"|"|","x"|1|1],[2|[1|2]|0|-0|1.5|| |true|{"id":"a"}|{"id":"b"}|{"id":1}|{"id":"a"},{"id":"b"}
{"id":"a","x":[{"id":1}|{"id":"c"}]}|{"id":"a","id":"b"}|{"\u0069d":"a"}|{"id":"a","x":"id"}|{"x":1}|{"id":"x|y"}
{"id":"a","x":{"id":1,"id":2}}|{"id":"a","id":"b","x":"\u0022\u0022"}|{"id":"a","outcome":"deleted"}
{"id":"a","\u006futcome":"deleted"}|{"id":"a","outco\u006de":"x"}|{"id":"a","o\u0075tcome":"x"}|{"id":"a","x":1,"x":"id"}|{"id":-0}|{"id":{"id":"z"}}|{"id":"\u0041"}|{"id":true}|{"id":"a","x":[1|3]}|""".strip(
        b"\n"
    )
    .replace(b"\n", b"|")
    .split(b"|")
) | st.just(b'"\xff"')


@given(st.lists(LINE, min_size=1, max_size=5), st.sampled_from([None, "id", "id.id"]))
@settings(max_examples=examples(1500))
def test_many_lines_give_what_each_line_gives(lines: list[bytes], name: str | None) -> None:
    member = Member(tuple(name.split("."))) if name else None
    assert ids_of_lines(joined(lines), member, FREE) == [checked(line, member) for line in lines]


@given(
    st.lists(st.text(min_size=1) | st.integers(-(2**63), 2**64 - 1), min_size=1), st.sampled_from([None, "id", "a.id"])
)
def test_json_written_by_python_reads_back(values: list[str | int], name: str | None) -> None:
    member = Member(tuple(name.split("."))) if name else None
    rows: list[Any] = list(values)
    for part in reversed(name.split(".") if name else []):
        rows = [{part: row} for row in rows]
    lines = [json.dumps(row).encode() for row in rows]
    if all(not isinstance(value, str) or value.isascii() for value in values):
        assert [id_of_line(line, member) for line in lines] == [str(value) for value in values]
        assert ids_of_lines(joined(lines), member, FREE) == [FREE.check(str(value)) for value in values]


INNER = st.lists(st.sampled_from([*rb'a",:{}[]\ ', 9, 127, 255, 0xC3, 0xA9]) | st.just(97), max_size=6).map(bytes)
FRAMES = st.sampled_from(
    [(b'"', b'"'), (b' "', b'" '), (b'{"id":"', b'"}'), (b'{ "id" : "', b'" }'), (b'{"x":"', b'"}')]
)


@given(FRAMES, st.lists(st.tuples(INNER, FRAMES, st.integers(0, 9)), min_size=1, max_size=6), st.booleans())
@settings(max_examples=examples(2000))
def test_lines_written_alike_give_what_each_line_gives(
    frame: tuple[bytes, bytes], parts: list[tuple[bytes, tuple[bytes, bytes], int]], inside: bool
) -> None:
    """Rows written alike, with every tenth framed otherwise, and with quotes and commas where no export has any."""
    member = Member(("id",)) if inside else None
    lines = []
    for inner, other, odd in parts:
        before, after = frame if odd else other
        lines.append(before + inner + after)
    assert ids_of_lines(joined(lines), member, FREE) == [checked(line, member) for line in lines]


def test_a_name_that_stands_in_other_places_too_is_no_repetition() -> None:
    lines = [b'{"id":"a","n":{"id":1},"m":"\\"id\\":\\u00f6"}', b'{"id":"b","n":"id"}', b'{"id":2}']
    assert ids_of_lines(joined(lines), Member(("id",)), FREE) == ["a", "b", "2"]


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ({"id": "a"}, None),
        ({"outcome": "refused"}, None),
        ({"outcome": "unknown"}, None),
        ({"outcome": "deleted"}, "deleted"),
        ({"outcome": None}, "None"),
        ({"outcome": []}, "[]"),
        ("outcome", None),
    ],
)
def test_results_of_an_earlier_run(row: Any, outcome: str | None) -> None:
    assert refused_as_result(row) == outcome


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\r\n", "a"), (b"a\xff\n", "a�"), ("x" * 121, "x" * TEXT_MAX + "…"), ("é".encode() * 999, "é" * TEXT_MAX + "…")],
)
def test_a_row_is_shortened_for_the_eye(text: str | bytes, shown: str) -> None:
    assert shortened(text) == shown


def test_free_text_has_no_shape() -> None:
    assert IdCheck(IdType("any"), {}).check("whatever it is") == "whatever it is"


def test_the_lines_of_a_plain_list() -> None:
    assert ids_of_plain_lines(b"a\nb\r\n\n \r\n c\nd\xff", FREE) == [
        "a",
        "b",
        Unusable(Why.EMPTY_LINE),
        Unusable(Why.EMPTY_LINE),
        Unusable(Why.SPACES),
        Unusable(Why.NOT_UTF8, "byte 0xff, 2 bytes into the line"),
    ]


def nested(depth: int) -> bytes:
    """A record that is nested so deeply."""
    return b'{"userId":"a","n":%b%b}' % (b"[" * (depth - 1), b"]" * (depth - 1))


@mutant(
    "a record is read that no request can be made of",
    "_id_of_record",
    swap("is_deep_record(line, row)", "row is None"),
)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"userId":"a","n":1}', "a"),
        (b'{"userId":"a","half":"\\ud83d"}', "a"),
        (b'{"half":"\\ud83d"}', Unusable(Why.NO_MEMBER, "userId")),
        (b'{"userId":"a","n":NaN}', Why.NOT_JSON),
        (b'{"userId":"a"', Why.NOT_JSON),
        (b'"a"', Unusable(Why.NO_MEMBER, "userId")),
        (b'{"userId":"a","userId":"b","half":"\\ud83d"}', Unusable(Why.MEMBER_TWICE, "userId")),
        (b'{"userId":null}', Unusable(Why.NULL)),
        (b"\xff", Why.NOT_UTF8),
        (b'{"userId":"a","n":[%b]}' % b",".join([b"[]"] * RECORD_DEPTH_MAX), "a"),
        (nested(RECORD_DEPTH_MAX), "a"),
        (nested(RECORD_DEPTH_MAX + 1), Unusable(Why.TOO_DEEP)),
        (nested(1_020), Unusable(Why.TOO_DEEP)),
        (nested(100_000), Why.NOT_JSON),
    ],
)
def test_a_whole_record_has_an_id_also_with_half_of_a_surrogate_pair(line: bytes, expected: object) -> None:
    (found,) = ids_of_records(line + b"\n", Member(("userId",)), IdCheck(IdType("any"), {}))
    assert found == expected or (isinstance(found, Unusable) and found.why is expected)
