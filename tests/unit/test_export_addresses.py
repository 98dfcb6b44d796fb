"""What an address in place of a file is answered with."""

from __future__ import annotations

import re

import pytest

from bulkdel.command_line import CommandLine
from bulkdel.errors import UsageError
from bulkdel.export.addresses import check_exclude, check_export


@pytest.mark.parametrize(
    ("export", "options", "source", "log"),
    [
        ("s3://b/k/users.csv", {}, "aws s3 cp s3://b/k/users.csv -", "--checkpoint users.csv.checkpoint.jsonl"),
        ("gs://b/x", {"--checkpoint": ("log",)}, "gcloud storage cat gs://b/x", "--checkpoint log"),
        ("https://h/a b?t=1", {}, "curl -fsSL 'https://h/a b?t=1'", "--checkpoint 'a b.checkpoint.jsonl'"),
        ("az://c/a/b", {}, "az storage blob download -c c -n a/b -f /dev/stdout", "--checkpoint b.checkpoint.jsonl"),
        ("ftp://h/", {}, "curl -fsSL ftp://h/", "--checkpoint h.checkpoint.jsonl"),
    ],
)
def test_an_export(export: str, options: dict[str, tuple[str, ...]], source: str, log: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_export(export, CommandLine("run", ("j", export), options))
    assert str(caught.value).endswith(f"\n  {source} | bulkdel run j - {log}")


@pytest.mark.parametrize("name", ["users.csv", "-", "a/b://c", "s3:/b/x", "./s3://b", "c:\\x", "x:", "://x", "1s3://b"])
def test_a_file(name: str) -> None:
    check_export(name, CommandLine("run", ("j", name)))


def test_an_exclude_file() -> None:
    """Its path has lost a slash already."""
    with pytest.raises(UsageError, match=re.escape("aws s3 cp s3://b/keep.csv - > keep.csv")):
        check_exclude("s3:/b/keep.csv")
    check_exclude("keep.csv")
