"""Which addresses are refused in the place of a file, and with which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bulkdel.command_line import CommandLine
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.file import open_export
from bulkdel.safety.argument_checks import check_exclude_address, check_export_address


@pytest.mark.parametrize(
    ("export", "options", "source", "log"),
    [
        ("ftp://h/a b.csv", {}, "curl -fsSL 'ftp://h/a b.csv'", "--run 'a b.csv.runs/j'"),
        ("sftp://h/x", {"--run": ("log",)}, "curl -fsSL sftp://h/x", "--run log"),
    ],
)
def test_another_scheme_is_piped(export: str, options: dict[str, tuple[str, ...]], source: str, log: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_export_address(export, CommandLine("run", ("j", export), options))
    assert str(caught.value).endswith(f"\n  {source} | bulkdel run j - {log}")


READ = ["users.csv", "-", "a/b://c", "s3:/b/x", "./s3://b", "c:\\x", "x:", "://x", "1s3://b"]
READ += ["s3://b/k/users.csv", "gs://b/x", "az://c/a/b", "https://h/a?t=1", "http://localhost:8000/x", "http://[::1]/x"]


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str) -> None:
    check_export_address(name, CommandLine("run", ("j", name)))
    check_exclude_address(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://user:password@h/x", r"https://\[hidden\]@h/x: has a user or a password"),
        ("http://h/x?secret", r"http://h/x\?\[hidden\]: is not https"),
        ("http://localhost.evil.example/x", "is not https"),
        ("s3://bucket", "names no object"),
        ("s3:///key", "names no object"),
        ("https://h/", "names no object"),
    ],
)
def test_what_is_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        check_export_address(name, CommandLine("run", ("j", name)))
    assert "password@" not in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match=why):
        check_exclude_address(name)


def test_an_exclude_file() -> None:
    with pytest.raises(UsageError, match=re.escape("curl -fsSL ftp://h/keep.csv > keep.csv")):
        check_exclude_address("ftp://h/keep.csv")
    with pytest.raises(UsageError, match="give an address as a text"):
        check_exclude_address(Path("s3://b/keep.csv"))  # its path has lost a slash already


def test_an_address_where_a_file_is_needed() -> None:
    with pytest.raises(NotAcceptable, match="not on this machine"):
        open_export("s3://b/k")
