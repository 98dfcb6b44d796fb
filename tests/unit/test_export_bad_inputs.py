"""Every kind of bad input, at the level of the reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.bad_rows import BadRow, MaxInvalid
from bulkdel.core.id_type import IdSet
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.lines import LINE_MAX
from bulkdel.export.rows import ReadOptions
from tests.sourcefiles import SKIP, TYPES, UID, ids, look, options, read, uid, write

JSONL = "export.jsonl"


def refused(path: Path, opts: ReadOptions | None = None) -> str:
    with pytest.raises(NotAcceptable) as caught:
        look(path, opts)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("data", ["", "\n", "\r\n\n", "\ufeff", "\ufeff\n", "id,name\n", "id", '"id"\r\n\r\n'])
def test_01_nothing_in_it(tmp_path: Path, data: str) -> None:
    assert "no ids" in refused(write(tmp_path / "x.csv", data))


def test_02_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    assert ids(write(tmp_path / "x", "\ufeffid,a\n1,2\n")) == ["1"]
    assert ids(write(tmp_path / "x", '\ufeff{"id":"a"}')) == ["a"]
    assert ids(write(tmp_path / "x", '\ufeff"a"'), block_size=1) == ["a"]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16-le", "UTF-16 (little-endian, without a byte-order mark)"),
        ("utf-16-be", "UTF-16 (big-endian, without a byte-order mark)"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "binary data"),
    ],
)
def test_03_utf_16(tmp_path: Path, encoding: str, name: str) -> None:
    for text in ("id,name\n1,2\n", '{"id":"a"}\n' * 5000):
        assert f"{name}, not UTF-8 text" in refused(write(tmp_path / "x", text.encode(encoding)))


def test_03_utf_16_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    for order, mark in (("utf-16-be", b"\xfe\xff"), ("utf-16-le", b"\xff\xfe")):
        assert ids(write(tmp_path / "x", mark + "id\tname\r\n1\tü\r\n".encode(order))) == ["1"]


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"PK\x03\x04zip", "a workbook"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"PAR1\0\0", "Parquet"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x7fELF\0\0\0\0\0\0\0\0\n", "binary data"),
    ],
)
def test_03_other_things_that_are_no_text(tmp_path: Path, magic: bytes, name: str) -> None:
    assert name in refused(write(tmp_path / "x", magic))


@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
def test_04_invalid_utf_8_is_refused_with_its_line(tmp_path: Path, skip: MaxInvalid | None) -> None:
    opts = options(skip_invalid=skip)
    for many in (0, 100_000):  # within the head and far behind it
        good = b'{"id":"a"}\n' * many
        text = refused(write(tmp_path / "x", good + b'{"id":"b"}\n{"id":"\xff"}\n'), opts)
        assert f"line {many + 2}: " in text
        assert "not UTF-8" in text
        good = b"1,2\n" * many
        text = refused(write(tmp_path / "x", b"id,name\n" + good + b"1,\xe9t\xe9\n"), opts)
        assert f"line {many + 2}: " in text
        assert "not UTF-8" in text


def test_04_control_characters_in_an_id(tmp_path: Path) -> None:
    text = refused(write(tmp_path / "x", '{"id":"a"}\n{"id":"b\\u0000"}\n'))
    assert """line 2: '{"id":"b\\\\u0000"}': the control character U+0000 in the id""" in text
    assert "--skip-invalid" in text
    assert "line 3: 'b\\x07,1': the control character U+0007" in refused(write(tmp_path / "x", "id,n\na,1\nb\7,1\n"))
    assert "line 3: 'b\\x00,1': the control character U+0000" in refused(
        write(tmp_path / "x", "id,n\naaaaaaa,1\nb\0,1\n")
    )
    # In another column they do no harm.
    assert ids(write(tmp_path / "x", "id,n\na,\7\nb,1\n")) == ["a", "b"]


def test_05_windows_line_ends(tmp_path: Path) -> None:
    assert ids(write(tmp_path / "x", '"a"\r\n"b"\r\n')) == ["a", "b"]
    assert ids(write(tmp_path / "x", '"id","n"\r\n"a","b\r\nc"\r\n')) == ["a"]
    # Those of a Mac of the last century are not.
    assert "line 1" in refused(write(tmp_path / "x", "id,n\ra,b\r"), options(id_field="id"))


@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        ('id,n\na,"b\nc,d\n', 2, "a quote that is never closed"),
        ('id,n\na,b\n"c"d,e\n', 3, "',' expected after '\"'"),
        ('id,n\na,b\n"c"d,e', 3, "',' expected after '\"'"),
        ('id,n\na,"b"c\n', 2, "',' expected after '\"'"),
        ("id,n\na,b\nc,d\re\n", 3, "a carriage return outside quotes that is no line end"),
        ('id,"n\na,b\n', 1, "a quote is misplaced or not closed"),
        ("id,n\ra,b\rc,d\r", 1, "its lines end in carriage returns alone. Export it with line feeds"),
        ('"id"x,n\na,b\n', 1, "a quote is misplaced or not closed"),
    ],
)
def test_06_quotes(tmp_path: Path, data: str, line: int, why: str, skip: MaxInvalid | None) -> None:
    text = refused(write(tmp_path / "x.csv", data), options(skip_invalid=skip))
    assert f"line {line}: " in text
    assert why in text


def test_06_many_good_rows_before_it(tmp_path: Path) -> None:
    text = refused(write(tmp_path / "x", "id,n\n" + "a,b\n" * 50_000 + '"c"d,e\n' + "a,b\n" * 50_000))
    assert "line 50002: '\"c\"d,e'" in text


def test_07_a_quoted_newline(tmp_path: Path) -> None:
    assert "line 2: '\"a\\nb\",1': a newline in the id" in refused(write(tmp_path / "x", 'id,n\n"a\nb",1\n'))
    assert "line 4: '\"b\\n\",1': a newline in the id" in refused(
        write(tmp_path / "x", 'id,n\na,"1\n2"\n"b\n",1\n'), options(trim=True)
    )
    assert ids(write(tmp_path / "x", 'id,n\na,"1\n2"\nb,"\n\n"\n')) == ["a", "b"]


LONG = "x" * LINE_MAX


@pytest.mark.parametrize(
    "data",
    [
        '{"id":"a"}\n{"id":"b","n":"' + LONG + '"}\n',
        '{"id":"a"}\n{"id":"b","n":"' + LONG + '"}',
        "id,n\na," + LONG + "\nb,c\n",
        'id,n\na,"' + "x\n" * LINE_MAX + '"\nb,c\n',
        'id,n\na,"' + "x\n" * (LINE_MAX // 3) + '","' + "x\n" * (LINE_MAX // 3) + '"\nb,c\n',
        'id,n\na,"' + ("x" * 1000 + "\n") * 3000,
        "id,n\na" + ',"\n"' * LINE_MAX,
        "id,n\na," + LONG * 4,
        LONG * 2,
    ],
    ids=["object", "last object", "line", "field", "row", "unclosed", "fields", "no end", "first"],
)
@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
def test_08_over_a_mebibyte(tmp_path: Path, data: str, skip: MaxInvalid | None) -> None:
    text = refused(write(tmp_path / "x", data), options(skip_invalid=skip))
    assert "over 1 MiB" in text or "field larger than field limit" in text
    assert len(text) < 1000


def test_a_file_that_begins_with_nothing_is_refused(tmp_path: Path) -> None:
    assert "no ids" in refused(write(tmp_path / "x", "\n" * LINE_MAX + '"a"\n'), options(skip_invalid=SKIP))


def test_08_just_below_is_accepted(tmp_path: Path) -> None:
    field = "x" * (LINE_MAX - 100)
    assert ids(write(tmp_path / "x", f"id,n\na,{field}\n")) == ["a"]
    assert ids(write(tmp_path / "x", '{"id":"a","n":"' + field + '"}\n')) == ["a"]


@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
def test_08_an_id_on_a_line_longer_than_a_message(tmp_path: Path, skip: MaxInvalid | None) -> None:
    _ = skip
    text = refused(write(tmp_path / "x", '{"id":"","n":"' + "y" * 5000 + '"}\n'))
    assert len(text) < 400


@pytest.mark.parametrize(
    ("data", "delimiter", "column"),
    [
        ("id;name\n1;2\n", ";", 0),
        ("name\tid\n2\t1\n", "\t", 1),
        ("id,name;alias\n1,2\n", ",", 0),
        ("name,alias;id\n2,3;1\n", ";", 1),
        ('"id";"na,me"\n"1";"2,3"\n', ";", 0),
        ("id\n1\n", ",", 0),
    ],
)
def test_09_delimiters(tmp_path: Path, data: str, delimiter: str, column: int) -> None:
    path = write(tmp_path / "x", data)
    dialect = look(path).dialect
    assert (dialect.delimiter, dialect.id_column) == (delimiter, column)
    assert ids(path) == ["1"]


def test_09_a_delimiter_in_doubt(tmp_path: Path) -> None:
    text = refused(write(tmp_path / "x", "a,b;c\n1,2;3\n"))
    assert "the delimiter is not clear: with ',': ['a', 'b;c']; with ';': ['a,b', 'c']" in text
    assert ids(write(tmp_path / "x", "a,b;c\n1,2;3\n"), options(id_field="a")) == ["1"]
    # By number it is the rows that tell.
    assert ids(write(tmp_path / "x", '7,"b;c"\n8,d\n'), options(id_field="1")) == ["7", "8"]
    assert "not clear" in refused(write(tmp_path / "x", "a,b;c\n1,2;3\n"), options(id_field="1"))


def test_10_the_column_of_an_exclude_file_is_named_behind_its_name(tmp_path: Path) -> None:
    protects = options(protects=True)
    several = write(tmp_path / "vip list", "uid,name\n1,2\n")
    assert f"Name one with --exclude '{several}:COLUMN'." in refused(several, protects)
    assert f"give the column's number: --exclude '{several}:1'." in refused(several, protects)
    unclear = write(tmp_path / "x", "a,b;c\n1,2;3\n")
    assert f"Name the id column with --exclude {unclear}:COLUMN." in refused(unclear, protects)
    assert "Leave the column out" in refused(
        write(tmp_path / "x", '"a"\n'), options(protects=True, id_field="mail", format="jsonl")
    )


def test_10_the_id_column(tmp_path: Path) -> None:
    text = refused(write(tmp_path / "x", "uid,name\n1,2\n"))
    assert "no column for the id; there are: 'uid', 'name'. Name one with --id-field." in text
    assert "more than one candidate for the id (id, userId); there are: 'id', 'userId'" in refused(
        write(tmp_path / "x", "id,userId\n1,2\n")
    )
    assert "no column mail; there are: 'id', 'name'" in refused(
        write(tmp_path / "x", "id,name\n1,2\n"), options(id_field="mail")
    )
    assert "no column 3; there are: 'id', 'name'" in refused(
        write(tmp_path / "x", "id,name\n1,2\n"), options(id_field="3")
    )
    assert "no column 0" in refused(write(tmp_path / "x", "id,name\n1,2\n"), options(id_field="0"))
    for twice in ("id,id\n1,2\n", "id,name,name\n1,2,3\n"):
        assert "the same header twice (" in refused(write(tmp_path / "x", twice))
    assert ids(write(tmp_path / "x", "id,id\n1,2\n"), options(id_field="2")) == ["2"]
    many = ",".join(f"column{number}" for number in range(60))
    assert "'column49', …. Name" in refused(write(tmp_path / "x", many + "\n"))


def test_10_the_id_member(tmp_path: Path) -> None:
    assert "no member for the id; there are: 'uid', 'name'" in refused(write(tmp_path / "x", '{"uid":1,"name":2}\n'))
    assert "more than one candidate for the id (userId, id)" in refused(write(tmp_path / "x", '{"userId":1,"id":2}\n'))
    assert "no member user.id in the first object; there are: 'id', 'user'" in refused(
        write(tmp_path / "x", '{"id":1,"user":{}}\n'), options(id_field="user.id")
    )
    assert "line 2: '{\"ID\":2}': no member id" in refused(write(tmp_path / "x", '{"id":1}\n{"ID":2}\n'))
    assert "line 2: '\"b\"': no member id" in refused(write(tmp_path / "x", '{"id":1}\n"b"\n'))
    assert 'line 2: \'{"id":"b"}\': an object, where' in refused(write(tmp_path / "x", '"a"\n{"id":"b"}\n'))
    assert "line 1: '\"a\"': a bare value has no fields" in refused(
        write(tmp_path / "x", '"a"\n'), options(id_field="id", format="jsonl")
    )
    seen = look(write(tmp_path / "x", '{"user_id":1}\n'))
    assert (seen.dialect.id_field, seen.dialect.guessed) == ("user_id", True)
    seen = look(write(tmp_path / "x", '{"user_id":1}\n'), options(id_field="user_id"))
    assert (seen.dialect.id_field, seen.dialect.guessed) == ("user_id", False)


@pytest.mark.parametrize(
    ("data", "field", "found"),
    [
        ("ID,n\n1,2\n", None, "ID"),
        ("n,UserId\n1,2\n", None, "UserId"),
        ("n;User_ID\n1;2\n", None, "User_ID"),
        ("MAIL,mail\n1,2\n", "mail", "mail"),
        ("n;E-Mail\n1;2\n", "e-mail", "E-Mail"),
        ('{"ID":1}\n', None, "ID"),
        ('{"Id":1,"n":2}\n', "ID", "Id"),
        ('{"User":{"ID":1}}\n', "user.id", "User.ID"),
        ('{"mail":1,"MAIL":2}\n', "MAIL", "MAIL"),
    ],
)
def test_10_a_name_is_found_without_case(tmp_path: Path, data: str, field: str | None, found: str) -> None:
    seen = look(write(tmp_path / "x", data), options(id_field=field))
    assert (seen.counts["ids"], seen.dialect.id_field) == (1, found)


@pytest.mark.parametrize(
    ("data", "field", "why"),
    [
        ("iD,User_ID\n1,2\n", None, "more than one candidate for the id (iD, User_ID)"),
        ("id,ID\n1,2\n", None, "more than one candidate for the id (id, ID)"),
        ("mail,MAIL\n1,2\n", "Mail", "Mail may be any of mail, MAIL"),
        ('{"id":1,"USERID":2}\n', None, "more than one candidate for the id (id, USERID)"),
        ('{"a":{"mail":1,"MAIL":2}}\n', "A.Mail", "Mail may be any of mail, MAIL"),
        ('{"a":1}\n', "A.id", "no member A.id in the first object"),
        ("sep=;\nn;m\n1;2\n", None, "line 2: no column for the id"),
        ("sep=;\n", None, "no ids"),
        ('sep=;\n"id;x\n', None, "line 2: '\"id;x': a quote is misplaced or not closed"),
        ("alice\nbob\n", None, "--format lines"),
    ],
)
def test_10_a_name_in_doubt(tmp_path: Path, data: str, field: str | None, why: str) -> None:
    assert why in refused(write(tmp_path / "x", data), options(id_field=field))


@pytest.mark.parametrize(
    ("data", "id_type", "opts", "form"),
    [
        (f"{UID}\n{uid(1)}\n", "user_id", {}, "lines"),
        (f"{UID}\r\n{uid(1)}", "user_id", {}, "lines"),
        (f"{UID}\n\n{uid(1)}\n", "user_id", {"skip_invalid": SKIP}, "lines"),
        (f" {UID}\n{uid(1)} \n", "user_id", {"trim": True}, "lines"),
        (f"user_id\n{uid(1)}\n", "user_id", {}, "csv"),
        (f"{UID}\n{uid(1)}\n", "user_id", {"id_field": "1"}, "csv"),
        (f'"{UID}"\n', "user_id", {}, "jsonl"),
        ("13800000001\n+8613800000002\n", "phone", {}, "lines"),
        (f"{UID}:a\n{UID}:b\n", "identity", {}, "lines"),
        ("12\n13\n", "external_id", {}, "jsonl"),
        ("12\n0013\n", "external_id", {"id_pattern": "[0-9]+"}, "lines"),
        ("id\nu13\n", "external_id", {"id_pattern": "[a-z0-9]+"}, "csv"),
        ("a,b\n{\n", "external_id", {"format": "lines"}, "lines"),
    ],
)
def test_a_plain_list(tmp_path: Path, data: str, id_type: str, opts: dict[str, Any], form: str) -> None:
    """Taken for one only where each line has the shape, and nothing else can be meant."""
    assert look(write(tmp_path / "x", data), options(id_type, **opts)).dialect.format == form


@pytest.mark.parametrize("data", [f"{UID}\n{UID[:-1]}\n", f"{UID},x\n", f"{UID}:a,b\n{UID}:c\n"])
def test_a_list_in_doubt(tmp_path: Path, data: str) -> None:
    assert "no column for the id" in refused(write(tmp_path / "x", data), options("user_id"))
    assert "no column for the id" in refused(write(tmp_path / "x", data), options("identity"))


def test_11_a_ragged_row(tmp_path: Path) -> None:
    assert "line 3: 'b': 1 column, where the first row has 2" in refused(write(tmp_path / "x", "id,n\na,1\nb\n"))
    assert "line 2: 'a,1,2': 3 columns" in refused(write(tmp_path / "x", "id,n\na,1,2\n"))
    assert "line 2: '1,2': 2 columns" in refused(write(tmp_path / "x", "1\n1,2\n"), options(id_field="1", format="csv"))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("123", "123"),
        ("-5", "-5"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", None),
        ("1.0", None),
        ("1e3", None),
        ("true", None),
        ("null", None),
        ('{"a":1}', None),
        ("[1]", None),
        ("-0", None),
    ],
)
def test_12_numbers_and_others(tmp_path: Path, value: str, found: str | None) -> None:
    for text in (f'{{"id":{value}}}\n', f'"a"\n{value}\n'):
        path = write(tmp_path / "x", text)
        if found is None:
            assert "line " in refused(path)
        else:
            assert ids(path)[-1] == found


def test_13_a_spreadsheet_was_here(tmp_path: Path) -> None:
    for wrong in ("7.3928E+23", "73928e05"):
        path = write(tmp_path / "x", f"id,n\n{wrong},1\n0012,2\n")
        for id_type in ("user_id", "phone", "email", "identity"):
            assert "looks like a spreadsheet rewrote it" in refused(path, options(id_type))
        seen = look(path)
        assert (seen.counts["ids"], seen.spreadsheet, seen.spreadsheet_examples) == (2, 1, (wrong,))
    text = '{"id":"a"}\n' + '"1E5"\n' * 3
    assert look(write(tmp_path / "x", text), options(skip_invalid=SKIP, format="jsonl")).spreadsheet == 0
    text = '{"id":""}\n' + "".join(f'{{"id":"{number}E5"}}\n' for number in range(9))
    seen = look(write(tmp_path / "x", text), options(skip_invalid=SKIP))
    assert (seen.spreadsheet, seen.spreadsheet_examples) == (9, ("0E5", "1E5", "2E5"))
    assert look(write(tmp_path / "x", '"1E5"\n'), options(id_pattern=".*")).spreadsheet == 0


def test_14_ids_of_another_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x", f'"{UID}"\n"a@b.c"\n')
    assert "line 2: '\"a@b.c\"': not a user_id (24 lower-case hex digits); looks like email" in refused(
        path, options("user_id")
    )
    assert ids(path, options("user_id", id_pattern=r"\S+")) == [UID, "a@b.c"]
    assert "not a user_id (--id-pattern u.*)" in refused(path, options("user_id", id_pattern="u.*"))
    with pytest.raises(UsageError, match=re.escape("--id-pattern (: not a regular expression")):
        look(path, options("user_id", id_pattern="("))


def test_15_spaces_and_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "id,n\n a ,1\nb,2\n")
    assert "line 2: ' a ,1': spaces around the id (--trim takes them off)" in refused(path)
    assert ids(path, options(trim=True)) == ["a", "b"]
    for trim in (True, False):
        assert "an empty id" in refused(write(tmp_path / "x", "id,n\n,1\n"), options(trim=trim))
        assert "an empty id" in refused(write(tmp_path / "x", '"a"\n""\n'), options(trim=trim))
    assert "line 3: '': an empty id" in refused(write(tmp_path / "x", "id\na\n\nb\n"))
    assert "line 3: '': an empty line" in refused(write(tmp_path / "x", "id,n\na,1\n\nb,2\n"))
    assert "line 2: '': an empty line" in refused(write(tmp_path / "x", '"a"\n\n"b"\n'))


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n\r\n", "\n" * 5000])
@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
def test_15_empty_lines_at_the_end_are_no_rows(tmp_path: Path, end: str, block_size: int) -> None:
    assert ids(write(tmp_path / "x", '"a"\n"b"' + end), block_size=block_size) == ["a", "b"]
    assert ids(write(tmp_path / "x", "id,n\na,1\nb,2" + end), block_size=block_size) == ["a", "b"]


@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
@pytest.mark.parametrize("torn", ['{"id":"b', '{"id":"b"', "{", '{"id":"b"}{'])
def test_16_the_last_line_is_torn(tmp_path: Path, torn: str, skip: MaxInvalid | None) -> None:
    for many in (1, 5000):
        text = refused(write(tmp_path / "x", '{"id":"a"}\n' * many + torn), options(skip_invalid=skip))
        assert f"line {many + 1}: " in text
        assert "the file ends in the middle of this row" in text


def test_17_no_final_newline(tmp_path: Path) -> None:
    assert ids(write(tmp_path / "x", '"a"\n"b"')) == ["a", "b"]
    assert ids(write(tmp_path / "x", "id\na\nb")) == ["a", "b"]
    assert ids(write(tmp_path / "x", 'id,n\na,"b"')) == ["a"]


# 18, 19 and 20: unit/test_export_compression.py


def test_21_the_same_id_again(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '"a@b.c"\n"A@b.c"\n"d@b.c"\n"a@b.c"\n')
    seen = look(path, options("email"))
    assert (seen.rows, seen.counts["ids"], seen.counts["duplicate"], seen.counts["invalid"]) == (4, 2, 2, 0)
    assert [record.position for record in seen.sample] == [0, 2]
    seen = look(path, options("email"), protected=IdSet(TYPES["email"], ["d@b.c"]))
    assert (seen.counts["ids"], seen.counts["duplicate"], seen.counts["excluded"], seen.examples) == (
        1,
        2,
        1,
        ("a@b.c",),
    )


# 22: unit/test_export_file.py


def test_23_a_checkpoint(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '{"seq":0,"entries":[{"kind":"header"}],"crc":"1"}\n')
    assert "a log of bulkdel, not an export" in refused(path)
    assert "a log of bulkdel" in refused(path, options(format="csv", id_field="1"))


@pytest.mark.parametrize("skip", [None, SKIP], ids=["stop", "skip"])
def test_23_results_of_an_earlier_run(tmp_path: Path, skip: MaxInvalid | None) -> None:
    opts = options(skip_invalid=skip)
    good = '{"position":0,"id":"a","outcome":"refused"}\n{"position":1,"id":"b","outcome":"unknown"}\n'
    assert ids(write(tmp_path / "x", good), opts) == ["a", "b"]
    text = refused(write(tmp_path / "x", good + '{"position":2,"id":"c","outcome":"deleted"}\n'), opts)
    assert "line 3: " in text
    assert "a row of an earlier run's results, with outcome 'deleted'" in text
    assert "line 5001: " in refused(
        write(tmp_path / "x", '{"id":"a"}\n' * 5000 + '{"id":"c","outcome":"absent"}\n'), opts
    )
    good = "id,outcome,n\na,refused,1\nb,unknown,2\n"
    assert ids(write(tmp_path / "x", good), opts) == ["a", "b"]
    assert "line 4: 'c,absent,3': a row of" in refused(write(tmp_path / "x", good + "c,absent,3\n"), opts)


def test_23_the_word_alone_does_no_harm(tmp_path: Path) -> None:
    assert ids(write(tmp_path / "x", '{"id":"a","n":"outcome"}\n{"id":"b","n":{"outcome":"deleted"}}\n')) == ["a", "b"]
    with pytest.raises(NotAcceptable, match="not JSON"):
        look(write(tmp_path / "x", '{"id":"a"}\n{"outcome"\n{"id":"b"}\n'))


# 24: unit/test_export_file.py; 25 is the caller's


@pytest.mark.parametrize(
    ("data", "id_type", "header", "found"),
    [
        (f"{UID},x\n{uid(1)},y\n", "user_id", None, [UID, uid(1)]),
        (f"uid,x\n{uid(1)},y\n", "user_id", "uid", [uid(1)]),
        (f"Benutzer-Kennung,x\n{uid(1)},y\n", "user_id", "Benutzer-Kennung", [uid(1)]),
        ("a@b.c\nd@e.f\n", "email", None, ["a@b.c", "d@e.f"]),
        ("E-Mail\nd@e.f\n", "email", "E-Mail", ["d@e.f"]),
        ("jdoe\nadmin\n", "username", None, ["jdoe", "admin"]),
        ("username\nadmin\n", "username", "username", ["admin"]),
        ("User ID\nadmin\n", "username", "User ID", ["admin"]),
        ("external_id\n17\n", "external_id", "external_id", ["17"]),
        ("17\n0018\n", "external_id", None, ["17", "0018"]),
    ],
)
def test_a_column_by_number_with_and_without_a_header(
    tmp_path: Path, data: str, id_type: str, header: str | None, found: list[str]
) -> None:
    path = write(tmp_path / "x", data)
    seen, rows = read(path, options(id_type, id_field="1"))
    assert rows == found
    assert (seen.dialect.header, seen.dialect.id_field) == (header is not None, header)
    assert not seen.dialect.guessed


def test_an_id_of_the_first_row_is_no_name_of_a_column(tmp_path: Path) -> None:
    """Taken for one, its row would not be sent, and the plan would show it."""
    for id_type, data, name, number in (("email", "x,a@b.c\ny,d@e.f\n", "a@b.c", 2), ("user_id", f"{UID},x\n", UID, 1)):
        text = refused(write(tmp_path / "x", data), options(id_type, id_field=name))
        assert text.endswith(f"Give its number: --id-field {number}."), text
    assert ids(write(tmp_path / "x", f"urn:id,n\n{UID}:b,2\n"), options("identity", id_field="urn:id")) == [f"{UID}:b"]


@pytest.mark.parametrize("first", [UID.upper(), "7.39E+23", "", " " + UID, "a@b.c", UID[:-1] + "!"])
def test_a_bad_first_id_is_not_taken_for_a_header(tmp_path: Path, first: str) -> None:
    text = refused(write(tmp_path / "x", f"{first},x\n{uid(1)},y\n"), options("user_id", id_field="1"))
    assert "line 1: " in text


@pytest.mark.parametrize(
    ("name", "data", "opts", "form"),
    [
        ("x", '{"id":1}\n', {}, "jsonl"),
        ("x.csv", '{"id":1}\n', {}, "jsonl"),
        ("x", '"a"\n', {}, "jsonl"),
        ("x", "12\n", {}, "jsonl"),
        ("x", "id\n1\n", {}, "csv"),
        ("x.csv", '"id"\n"1"\n', {}, "csv"),
        ("x.csv.gz", '"id"\n"1"\n', {}, "csv"),
        ("x", '"id"\n"1"\n', {"format": "csv"}, "csv"),
        ("x", '"id"\n"1"\n', {"format": "jsonl"}, "jsonl"),
        ("x", '"id"\n"1"\n', {"id_field": "id"}, "csv"),
        ("x", "12\n0013\n", {"id_field": "1"}, "csv"),
        ("x", '"id","n"\n"1","2"\n', {}, "csv"),
    ],
)
def test_the_format_by_content(tmp_path: Path, name: str, data: str, opts: dict[str, str], form: str) -> None:
    assert look(write(tmp_path / name, data), options(**opts)).dialect.format == form


def test_a_format_in_doubt(tmp_path: Path) -> None:
    assert "either the heading of a CSV column or an id" in refused(write(tmp_path / "x", '"userId"\n"1"\n'))
    assert "a JSON array, not JSON Lines" in refused(write(tmp_path / "x", '[{"id":1}]\n'))
    assert 'line 2: \'{"id":"b\': not JSON: ' in refused(write(tmp_path / "x", '\n{"id":"b'), options(id_field="id"))
    assert "line 1: '{': not JSON" in refused(write(tmp_path / "x", '{\n  "id": 1\n}\n'))
    assert "no column 1; there are: 'a'" in refused(write(tmp_path / "x", "a\n"), options(id_field="9")).replace(
        "9", "1"
    )


def test_the_first_good_row_decides_when_bad_ones_may_be_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '{"id"\nnull\n{"id":"a"}\n')
    seen, rows = read(path, options(skip_invalid=SKIP, format="jsonl"))
    assert [isinstance(row, BadRow) for row in rows] == [True, True, False]
    firsts = [(group.count, group.first.line, group.first.text) for group in seen.bad]
    assert firsts == [(1, 1, '{"id"'), (1, 2, "null")]
    seen, rows = read(write(tmp_path / "x", '{"id"\n"a"\n'), options(skip_invalid=SKIP))
    assert rows[1] == "a"
