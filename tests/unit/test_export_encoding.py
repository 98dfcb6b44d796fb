"""Encodings: what is read, what is refused and where, and what is only advised."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.encoding import encoding_named, guessed_encodings
from tests.mutants import mutant
from tests.sourcefiles import ids, look, options, write
from tests.syntax import swap

TEXT = "name;id\nJürgen;müller@x.de\nZoë;zoë@x.de\n"
IDS = ["müller@x.de", "zoë@x.de"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso8859-15", "mac-roman", "cp850"])
@pytest.mark.parametrize("packed", [False, True])
def test_both_passes_read_it(tmp_path: Path, encoding: str, packed: bool) -> None:
    data = TEXT.encode(encoding)
    export = write(tmp_path / "x.csv", gzip.compress(data) if packed else data)
    opts = options(encoding=None if encoding == "utf-16" else encoding_named(encoding))
    for block_size in (1, 7, 1 << 20):  # characters are cut between blocks
        assert ids(export, opts, block_size=block_size) == IDS


def test_chinese_and_mac_line_by_line(tmp_path: Path) -> None:
    text = "姓名,id\n" + "".join(f"张伟,用户{i}\n" for i in range(3000))
    export = write(tmp_path / "x.csv", text.encode("gb18030"))
    assert ids(export, options(encoding="gb18030"))[-1] == "用户2999"


@mutant(
    "UTF-8 is read in another encoding",
    "encoding_of",
    swap("wanted is None or (wanted not in _WIDE and _is_utf8(first))", "wanted is None"),
)
def test_a_file_that_is_utf_8_stays_so(tmp_path: Path) -> None:
    """One option serves an export and exclude files that differ."""
    for data in (TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode()):
        export = write(tmp_path / "x.csv", data)
        assert ids(export, options(encoding="cp1252")) == IDS
        assert look(export, options(encoding="cp1252")).dialect.encoding == "utf-8", "the log has it so"


def test_utf_8_is_in_the_log_too(tmp_path: Path) -> None:
    assert look(write(tmp_path / "x.csv", TEXT)).dialect.encoding == "utf-8"


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (b"id\na\nb\x81c\n", "cp1252", ("line 3", "not cp1252: 0x81 at byte 6")),
        ("id\nab\n".encode("utf-16-le") + b"\x00", "utf-16-le", ("line 3", "not utf-16-le")),
        ("id\nab\n".encode("utf-16-le"), "utf-16", ("no byte-order mark", "--encoding utf-16-le")),
        ("id\nab\n".encode("utf-16") + b"\x00\xd8\x00\x00", None, ("line 3", "not utf-16")),
    ],
)
def test_bytes_that_are_none_of_the_encoding(
    tmp_path: Path, data: bytes, encoding: str | None, says: tuple[str, ...]
) -> None:
    with pytest.raises(NotAcceptable) as caught:
        look(write(tmp_path / "x.csv", data), options(encoding=encoding))
    for words in says:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["utf-7", "rot13", "hex", "iso2022_jp", "hz", "idna", "nonsense", "zlib", "cp\0"])
def test_no_encoding_of_text(name: str) -> None:
    with pytest.raises(UsageError, match="is no encoding that bulkdel reads"):
        encoding_named(name)


def test_names_are_those_of_python() -> None:
    assert encoding_named("Windows-1252") == "cp1252"
    assert encoding_named("UTF-8-SIG") == "utf-8"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("René Lefèvre\nJürgen Größe\nSøren Åberg\n", "cp1252"),
        ("张伟 李娜 王芳 北京 上海\n" * 5, "gb18030"),
        ("山田太郎 鈴木花子 カタカナ ひらがな\n" * 5, "cp932"),
        ("Жанна Щукина\nЮлия Эйдман\n" * 5, "cp1251"),
    ],
)
def test_the_guess_names_the_right_one_among_few(text: str, encoding: str) -> None:
    found = guessed_encodings(text.encode(encoding))
    assert encoding in found
    assert len(found) <= 3
    assert len({text.encode(encoding).decode(name, "replace") for name in found}) == len(found)


def test_nothing_is_guessed_from_nothing() -> None:
    assert len(guessed_encodings(b"")) <= 1


def test_accented_letters_that_stand_alone_are_no_characters_of_two_bytes() -> None:
    assert guessed_encodings("Näme 1;aktiv\n".encode("cp1252") * 100)[0] == "cp1252"
