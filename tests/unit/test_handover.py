"""The manifest of a hand-over: it comes back as it was written, and one that is not trusted is refused."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.handover import (
    MANIFEST,
    MEMBER_MAX,
    Manifest,
    PackedFile,
    Unfit,
    check_config,
    check_host,
    check_name,
    free_name,
    toml_of,
    without_files,
)
from tests.mutants import mutant
from tests.syntax import swap

SHA256 = "0" * 64
LOG = PackedFile("run/log.jsonl", "the log", 12, SHA256)
ONE = Manifest(
    *("bulkdel 0.1.0", "word", "2026-11-26T10:00:00.000Z", "anna", "m1"),
    options={"--config": ("c.toml",), "--exclude": ("a.csv", "a.csv:Mail:email"), "--backup-to": ("new.jsonl",)},
    files=(LOG, *(PackedFile(name, "a file", 0, SHA256) for name in ("users.csv", "c.toml", "a.csv"))),
)


def test_a_manifest_comes_back_as_it_was_written() -> None:
    for one in (ONE, replace(ONE, options={})):
        assert Manifest.of(one.to_bytes()) == one
    assert ONE.size == 12


def values() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ONE.to_bytes())
    return found


def changed(*path: str | int, to: Any) -> bytes:
    found = values()
    where: Any = found
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = to
    return json.dumps(found).encode()


def named(*names: str) -> bytes:
    """With further files of these names."""
    found = values()
    found["files"] += [{**found["files"][1], "name": name} for name in names]
    return json.dumps(found).encode()


NOT_OURS = "is not one that bulkdel wrote"


@mutant(
    "one folder has two names in an archive",
    "Manifest.check",
    swap("len(folders) < len(spelt)", "not spelt"),
)
@mutant(
    "names of an archive are compared with their composed characters",
    "_folded",
    swap('unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())', "name.casefold()"),
)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", NOT_OURS),
        (b"[]", NOT_OURS),
        (b"[" * 100_000, NOT_OURS),
        (b'{"format": 1}', NOT_OURS),
        (b'{"format": 2}', "has format 2, and this version reads 1"),
        (changed("format", to="1"), "has format '1'"),
        (changed("files", to=[{"name": "x"}]), NOT_OURS),
        (changed("files", 0, "more", to=1), NOT_OURS),
        (changed("files", 1, "name", to="../x"), "'../x', which is not the name of a file"),
        (changed("files", 1, "name", to="/etc/passwd"), "not the name of a file"),
        (changed("files", 1, "name", to=MANIFEST), "twice"),
        (changed("files", 1, "name", to="run/LOG.jsonl"), "twice"),
        (named("run/restore-1/x", "run/Restore-1/x"), "twice"),
        (named("run/restore-1/x", "run/Restore-1/y"), "one folder in two ways, in 'run', 'run/Restore-1', 'run/re"),
        (named("run/\u00e9/x", "run/e\u0301/y"), "one folder in two ways"),
        (named("\u00e9.csv", "E\u0301.csv"), "twice"),
        (changed("files", 1, "name", to="RUN/x"), "not the name of a file"),
        (changed("files", 1, "name", to="run/../x"), "not the name of a file"),
        (changed("files", 1, "name", to="run//x"), "not the name of a file"),
        (changed("files", 1, "name", to="run/a/b/c/d"), "not the name of a file"),
        (changed("files", 1, "name", to="Run"), "'run' as a file and as a folder"),
        (changed("files", 0, "name", to="run/other.jsonl"), "has no log"),
        (changed("files", 1, "size", to=-1), "no size"),
        (changed("files", 1, "size", to=1.5), "no size"),
        (changed("files", 1, "sha256", to="A" * 64), "no SHA-256"),
        (changed("files", 0, "what", to="\x1b[2J"), "cannot be printed"),
        (changed("user", to="a\x1b[2Jb"), "cannot be printed"),
        (changed("machine", to=7), "cannot be printed"),
        (changed("options", to=[]), NOT_OURS),
        (changed("options", "--config", to=5), NOT_OURS),
        (changed("options", "--config", to=[5]), "'--config 5', which is none of its files"),
        (changed("options", "--config", to=["/tmp/c.toml"]), "'--config /tmp/c.toml', which is none"),
        (changed("options", "--backup-to", to=["/home/x"]), "'--backup-to /home/x', which is none"),
        (changed("options", "--backup-to", to=["s3://bucket/x"]), "'--backup-to s3://bucket/x', which is none"),
        (changed("options", "--plan", to=["../plan.json"]), "'--plan ../plan.json', which is none"),
        (changed("options", "--exclude", to=["/etc/passwd"]), "'--exclude /etc/passwd', which is none"),
        (changed("options", "--exclude", to=["s3://bucket/a.csv"]), "'--exclude s3://bucket/a.csv', which is none"),
        (changed("options", "--exclude", to=["a.csv/../b"]), "'--exclude a.csv/../b', which is none"),
        (changed("options", "--exclude", to=["a.csv:\x1b[2J"]), "which is none of its files"),
    ],
)
def test_a_manifest_that_is_not_trusted_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(Unfit, match=r"^[^\x1b]*$") as refused:
        Manifest.of(data)
    assert said in str(refused.value)


@mutant(
    "an archive sets an option of the machine",
    "Manifest.check_options",
    swap("foreign(self.options, known)", 'foreign(self.options, {*known, "--on-event"})'),
)
@pytest.mark.parametrize("option", ["--on-event", "--run", "--ca-file", "; rm", "\x1b[2J"])
def test_an_archive_has_no_other_options_than_those_of_its_list(option: str) -> None:
    """Also where the value is one of its files."""
    ONE.check_options(ONE.options)
    with pytest.raises(Unfit, match=r"^[^\x1b]*which no archive may have$"):
        replace(ONE, options={option: ("a.csv",)}).check_options(ONE.options)


@pytest.mark.parametrize(
    "tables",
    [{"run": {"on_event": "x"}}, {"other": {}}, {"genauth": 5}]
    + [
        {"genauth": each}
        for each in ({"credentials_file": "/k"}, {"host": "x"}, {"list": [{"deep": [{"key_file": "/k"}]}]})
    ],
)
def test_an_archive_has_the_tables_of_its_run_alone(tables: dict[str, Any]) -> None:
    check_config({"genauth": {"brand": "authing"}}, {"genauth", "protect"})
    with pytest.raises(Unfit, match="has a config"):
        check_config(tables, {"genauth", "protect"})


def test_a_host_that_looks_like_another_is_refused() -> None:
    check_host("https://api.genauth.ai")
    for host in ("https://api.genauth.\u0430i", "https://api.genauth.ai\nTo go on:", "https://x\x1b[2J"):
        with pytest.raises(Unfit, match="may look like another host"):
            check_host(host)


@mutant(
    "a file in the archive may have a path as its name",
    "_is_plain",
    swap(
        'name.isprintable() and "/" not in name and "\\\\" not in name',
        'name.isprintable() and "\\\\" not in name',
    ),
)
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "/a", "..\\a", "a\0b", "a\nb", "\u202ea", " ", "x" * 256, "é" * 128, 5, None],
)
def test_a_name_that_is_no_plain_name_is_refused(name: Any) -> None:
    with pytest.raises(Unfit):
        check_name(name)


def test_a_long_name_is_cut_in_the_archive_alone() -> None:
    assert replace(LOG, name="é" * 60).member == "é" * (MEMBER_MAX // 2)
    assert replace(LOG, name="x" + "é" * 60).member == "x" + "é" * 49
    assert LOG.member == LOG.name


def test_a_taken_name_gets_a_number() -> None:
    assert free_name("a.csv", ()) == "a.csv"
    assert free_name("a.csv", {"A.CSV", "a-2.csv"}) == "a-3.csv"
    assert free_name("a", {"a"}) == "a-2"
    assert free_name("\u00e9", {"E\u0301"}) == "\u00e9-2"


def test_a_table_is_packed_without_the_files_of_its_secrets() -> None:
    table = {"brand": "authing", "credentials_file": "/k", "auth": {"token_FILE": "/t", "kind": "bearer"}, "file": "x"}
    kept, gone = without_files(table)
    assert kept == {"brand": "authing", "auth": {"kind": "bearer"}, "file": "x"}
    assert gone == ["credentials_file", "auth.token_FILE"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
PLAIN = (
    TEXT
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.sampled_from([date(2026, 1, 31), time(6, 30), datetime(2026, 1, 31, 6, tzinfo=UTC)])
)
VALUES: Callable[[], st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731 - a recursive type has no name
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(TEXT, st.dictionaries(TEXT, VALUES(), max_size=4), max_size=3))
def test_tables_come_back_as_tomllib_reads_them(tables: dict[str, dict[str, Any]]) -> None:
    assert tomllib.loads(toml_of(tables)) == tables
