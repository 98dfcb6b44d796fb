"""Which texts of a report hold a value of an export, and are left out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bulkdel.export.file import Hashing, fingerprint, open_export
from bulkdel.export.rows import ReadOptions
from bulkdel.export.sniff import recognise
from bulkdel.job import load_job
from bulkdel.report.export_values import cells_of
from bulkdel.report.texts import TextCheck
from tests.sourcefiles import SKIP

ID, CELL = True, False


@pytest.mark.parametrize(
    ("text", "value", "is_id"),
    [
        ("leavers of anna.miller@example.com", "anna.miller@example.com", ID),
        ("list-ANNA_MILLER_example.com.csv", "anna.miller@example.com", ID),
        ("export-of-blacksmiths.csv", "smith", ID),
        ("CHG 7", "7", ID),
        ("CHG-20261", "2026", ID),
        ("Anna Miller asked for it", "Anna Miller", CELL),
        ("annamiller-vips.csv", "Anna Miller", CELL),
        ("for Anna", "anna", CELL),
        ("of Max", "Max", CELL),
        ("call 49 170 1234567", "+49 (170) 1234567", CELL),
        ("anna.miller.csv", "anna.miller@example.com", CELL),
        ("Anna Miller asked for it", "Miller, Anna", CELL),
        ("call 0170 1234567", "+491701234567", ID),
        ("王芳的申请", "王芳", CELL),
        ("Vom Team M\u00fcller", "MU\u0308LLER", CELL),  # one letter in the text, two in the value
        ("room 12345", "12345", CELL),
    ],
)
def test_a_text_holds_a_value(text: str, value: str, is_id: bool) -> None:
    check = TextCheck([text, "another"])
    check.see(value, is_id=is_id)
    assert check.holds(text)
    assert not check.holds("another")


@pytest.mark.parametrize(
    ("text", "value", "is_id"),
    [
        ("leavers of 2026", "2026", CELL),  # too short for a number
        ("users-de.csv", "de", CELL),
        ("leavers-2026-01-31.csv", "2026-01-31", CELL),  # a date
        ("blacksmiths", "smith", CELL),  # within a word, and no id
        ("blacksmiths", "th", ID),
        ("see info.txt", "info@example.com", CELL),  # names no person
        ("CHG-1234", "", CELL),
        ("CHG-1234", "--", ID),
        ("the list", "the list of all", CELL),
    ],
)
def test_a_text_does_not(text: str, value: str, is_id: bool) -> None:
    check = TextCheck([text])
    check.see(value, is_id=is_id)
    assert not check.holds(text)


def test_the_name_of_a_user_is_held_by_an_equal_id_only() -> None:
    check = TextCheck([], ["deploy", "vm-deploy"])
    check.see("Deploy")
    assert not check.holds("deploy")
    check.see("Deploy", is_id=True)
    assert check.holds("deploy")
    assert not check.holds("vm-deploy")


def test_one_value_is_compared_as_an_id_also_after_it_was_seen_as_a_cell() -> None:
    check = TextCheck(["blacksmiths"])
    check.see("smith")
    check.see("smith", is_id=True)
    assert check.holds("blacksmiths")


A, B = "0" * 24, "1" * 24


@pytest.mark.parametrize(
    ("name", "content", "cells"),
    [
        (
            "nested.jsonl",
            (
                f'{{"id":"{A}","of":{{"names":["Anna Miller",{{"phone":491701234567}}]}},"on":true,"off":null}}\n'
                f'{{"id":"{B}","note":"Boris"}}\nno json, "Chloe Okafor"\n'
            ),
            {A, B, "Anna Miller", "491701234567", "Boris", "Chloe", "Okafor", "no", "json"},
        ),
        ("bare.jsonl", f'"{A}"\n"{B}"\n', {A, B}),
        ("list.txt", f"{A}\n{B}\n", {A, B}),
        (
            "excel.csv",
            f'\ufeffsep=;\nid;name;street\n{A};"Miller; Anna";"High Street\n5"\n{B};Boris\n',
            {A, B, "Miller; Anna", "High Street\n5", "Boris"},
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_cell_of_an_export_is_compared(
    name: str, content: str, cells: set[str], packed: bool, tmp_path: Path
) -> None:
    """Also the cells of bad rows, and those of a compressed file; no name of a column."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    job = load_job("delete-users")
    options = ReadOptions(job.id_types["user_id"], job.id_types, skip_invalid=SKIP)
    with open_export(str(path)) as export:
        reading = Hashing(export)
        found = cells_of(reading, recognise(export, options))
        assert set(found) - {""} == cells
        assert reading.fingerprint() == fingerprint(export)
