"""Files as spreadsheets write them: what they protect and delete, and what is refused. The server's count decides."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import json
import shlex
import shutil
import struct
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import python_calamine
import xlsxwriter

from bulkdel import run_sync
from bulkdel.commands.results_tables import Workbook
from bulkdel.errors import NotAcceptable
from bulkdel.export import converting
from bulkdel_jobs.sandbox import Pool, Switches, serve_in_thread
from tests.examples import one_in
from tests.harness import (
    KEYS,
    POOL,
    Ran,
    bulkdel,
    environment,
    importing_from,
    is_alive,
    processes_of,
    run_on,
    sandbox,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import negate, only_if, swap

VIPS = [f"vip{i}@example.com" for i in range(300)]
OTHERS = [f"kunde{i}@example.com" for i in range(60)]
FIXTURES = Path(__file__).parent.parent / "tables"
EMAILS = ("--id-type", "email", "--id-field", "E-Mail")

Rows = Sequence[Sequence[Any]]


def people(emails: Sequence[str], heading: str = "E-Mail") -> list[list[Any]]:
    return [["Kundennummer", "Name", heading], *([1000 + i, f"Jürgen {i}", mail] for i, mail in enumerate(emails))]


def text(rows: Rows, delimiter: str = ";", end: str = "\r\n") -> str:
    return "".join(delimiter.join("" if cell is None else str(cell) for cell in row) + end for row in rows)


def workbook(path: Path, sheets: Mapping[str, Rows], hidden: Sequence[str] = ()) -> Path:
    """Write a workbook; a date, a truth value or a formula is written as such."""
    book = xlsxwriter.Workbook(str(path), {"default_date_format": "yyyy-mm-dd", "strings_to_urls": False})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for at, row in enumerate(rows):
            sheet.write_row(at, 0, row)
        if name in hidden:
            sheet.hide()
    book.close()
    return path


def crm(path: Path) -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + text(people([*VIPS, *OTHERS])).encode())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


SEVEN: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "utf8.csv": (lambda path: path.write_bytes(b"\xef\xbb\xbf" + text(people(VIPS)).encode()), (), ""),
    "ansi.csv": (lambda path: path.write_bytes(text(people(VIPS)).encode("cp1252")), ("--encoding", "cp1252"), ""),
    "unicode.txt": (lambda path: path.write_bytes(text(people(VIPS), "\t").encode("utf-16")), (), ""),
    "sep.csv": (lambda path: path.write_bytes(("sep=;\r\n" + text(people(VIPS))).encode()), (), ""),
    "book.xlsx": (lambda path: workbook(path, {"Tabelle1": people(VIPS)}), (), ""),
    "mail.csv": (lambda path: path.write_bytes(text(people(VIPS, "Mail")).encode()), (), ":Mail"),
    "blank.csv": (lambda path: path.write_bytes((text(people(VIPS)) + ";;\r\n;;\r\n").encode()), (), ""),
}
"""The files that a spreadsheet makes of one list: how each is written, the option and the name that it needs."""


@mutant(
    "the first id of a list to keep is not protected",
    "read_excluded",
    swap("ids.update(good)", "ids.update(good[1:])"),
    case="book.xlsx",
)
@pytest.mark.parametrize("name", [*SEVEN, "vips.xls", "vips.ods"])
def test_each_file_of_a_spreadsheet_protects_all_300(name: str, tmp_path: Path) -> None:
    export, kept = crm(tmp_path / "crm.csv"), tmp_path / name
    options: tuple[str, ...] = ()
    ending = ""
    if name in SEVEN:
        write, options, ending = SEVEN[name]
        write(kept)
    else:
        shutil.copy(FIXTURES / name, kept)
    with sandbox([*VIPS, *OTHERS], "email") as served:
        if options or ending:  # without it the file is refused, and the message says what to give
            ran = run_on(export, served, *EMAILS, "--exclude", kept, ids=60)
            assert (ran.code, served.ledger.requests) == (3, 0), ran.err
            assert (" ".join(options) or f"--exclude {kept}{ending}") in ran.err
        ran = run_on(export, served, *EMAILS, *options, "--exclude", f"{kept}{ending}", ids=60)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 60, "excluded": 300}
        assert [served.ledger.effects(mail, "email") for mail in VIPS] == [0] * 300
        assert served.pool.deleted == 60


def plan(export: Path, *options: object) -> Ran:
    return bulkdel("plan", "delete-users", export, *options, env={})


@mutant(
    "a refusal advises one option at a time",
    "STEPS_MAX",
    swap("4", "1"),
)
@pytest.mark.traced
def test_one_refusal_has_every_option(tmp_path: Path) -> None:
    """The text of Excel's plain CSV: encoding, column, type and bad rows at once; the command it prints works."""
    rows = people([*VIPS, *OTHERS] * 40)
    for at, bad in ((12_000, ""), (12_500, "n/a"), (13_000, "two words@example.com")):
        rows[at][2] = bad
    export = tmp_path / "crm.csv"
    export.write_bytes(text(rows).encode("cp1252"))
    (tmp_path / "vips.csv").write_bytes(text(people(VIPS)).encode())
    ran = plan(export, "--exclude", tmp_path / "vips.csv")
    assert ran.code == 3
    assert "Its text looks like cp1252" in ran.err
    assert "Then 3 of 14,400 rows are bad:" in ran.err
    assert "  'E-Mail'        email  10,000\n  'Kundennummer'  phone  10,000, as any number does" in ran.err
    skipping = ran.err.strip().splitlines()[-1].split()
    assert {*itertools.pairwise(skipping)} >= {
        *(("--encoding", "cp1252"), ("--id-field", "E-Mail"), ("--id-type", "email"), ("--skip-invalid", "3"))
    }
    ran = bulkdel(*skipping[1:], "--json", env={})
    assert (ran.code, json.loads(ran.out)["ids"]) == (0, 60), ran.err
    assert "vips.csv" not in ran.err


def test_columns_that_fit_equally_are_all_named(tmp_path: Path) -> None:
    export = tmp_path / "two.csv"
    export.write_text(text([["uid", "Mail"], *zip(user_ids(50), OTHERS, strict=False)], ",", "\n"))
    ran = plan(export)
    assert ran.code == 3
    assert "--id-field uid\n" in ran.err
    assert "--id-field Mail --id-type email\n" in ran.err


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (
            b'{"user":{"mail":"a@x.de"},"n":1}\n{"user":{"mail":"b@x.de"},"n":2}\n',
            "--id-field user.mail --id-type email",
        ),
        (b"a@x.de\nb@x.de\n", "--id-field 1 --id-type email"),
        (b'"x;y";"a@x.de"\n"z";"b@x.de"\n', "--id-field 2 --id-type email"),
        (b'id,n\n"a@x.de",1\n"b@x.de",2\n', "--id-type email"),
    ],
)
def test_members_and_files_without_a_heading(tmp_path: Path, data: bytes, command: str) -> None:
    export = tmp_path / "e.txt"
    export.write_bytes(data)
    ran = plan(export)
    assert ran.code == 3
    assert f"plan delete-users {export} {command}\n" in ran.err, ran.err
    ran = plan(export, *command.split(), "--json")
    assert (ran.code, json.loads(ran.out)["ids"]) == (0, 2), ran.err


def test_the_message_for_logs_has_no_text_of_a_row(tmp_path: Path) -> None:
    export = tmp_path / "e.csv"
    export.write_text("Secret Heading,mail\nx,a@x.de\n")
    ran = plan(export, "--log-format", "json")
    assert ran.code == 3
    assert "column 2: email  1" in ran.err
    assert "Secret" not in ran.err
    assert "a@x.de" not in ran.err


@mutant(
    "nothing says that a sheet may show other digits than its cells hold",
    "_cell_notes",
    swap("record.id.isdecimal()", "not record.id"),
)
@mutant(
    "a row without an id is taken for a blank one",
    "_Rows.write",
    negate("not blank"),
)
def test_cells_of_a_workbook_are_ids_digit_for_digit_or_bad_rows(tmp_path: Path) -> None:
    """Through a whole run: line n is row n, the bad rows have their reasons, and a resume does without the workbook."""
    rows: list[list[Any]] = [
        ["name", "Number"],
        *([f"n{i}", 9_000_000_000_000 + i] for i in range(60)),
        ["text", "0049170"],
        ["a fraction", 1.5],
        ["too large", 2**53],
        ["a date", dt.date(2024, 1, 31)],
        ["a truth", True],
        ["empty", None],
        ["", ""],
    ]
    export = workbook(tmp_path / "n.xlsx", {"Data": rows, "Old": [["x"]]}, hidden=["Old"])
    ids = [*(str(9_000_000_000_000 + i) for i in range(60)), "0049170"]
    skip = ("--id-type", "external_id", "--id-field", "2", "--skip-invalid", "10")
    ran = plan(export, *skip)
    assert "sheet 'Data'; hidden and not read: Old" in ran.out, ran.err
    assert "zeros that only the format of a cell shows are no part of an id" in " ".join(ran.out.split())
    with sandbox(ids, "external_id") as served:
        ran = run_on(export, served, *skip, "--limit", 50, ids=61)
        assert ran.code == 0, ran.err
        export.rename(tmp_path / "moved.xlsx")
        ran = run_on(export, served, *skip, ids=61)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 61, "invalid": 5}
        assert all(served.ledger.effects(id_, "external_id") == 1 for id_ in ids)
    place = log_of(export).parent
    why = (place / "invalid.reasons.csv").read_text()
    assert [line.split(",")[0] for line in why.splitlines()[1:]] == ["63", "64", "65", "66", "67"]
    results = bulkdel("results", place)
    assert [json.loads(line)["id"] for line in results.out.splitlines()][:61] == ids
    assert json.loads(results.out.splitlines()[0])["line"] == 2
    forgotten = bulkdel("forget", place, "--confirm", 3)  # the rows, the bad rows, and why they are
    assert forgotten.code == 0, forgotten.err
    assert names(tmp_path) == ["moved.xlsx", "n.xlsx.runs"]
    assert names(place.parent) == [place.name]
    assert names(place) == ["input.index.jsonl", "log.jsonl", "skipped.zst"]


@mutant(
    "a workbook may change under its run",
    "ExportReading._as_named",
    swap("file.copied or file.state != log.header.export_state", "file.copied and log.header.export_state"),
)
def test_a_workbook_that_has_changed_refuses_the_resume(tmp_path: Path) -> None:
    ids = user_ids(60)
    export = workbook(tmp_path / "e.xlsx", {"S": [["id"], *([id_] for id_ in ids)]})
    with sandbox(ids) as served:
        assert run_on(export, served, "--limit", 50, ids=60).code == 0
        right = export.read_bytes()
        workbook(export, {"S": [["id"], *([id_] for id_ in reversed(ids))]})
        sent = served.ledger.requests
        ran = run_on(export, served, ids=60)
        assert (ran.code, served.ledger.requests) == (3, sent)
        assert "SHA-256 of the export: the log has" in ran.err
        export.write_bytes(right)
        for other in (("--sheet", "T"), ("--id-field", "other"), ("--id-field", "2")):
            ran = run_on(export, served, *other, ids=60)
            assert (ran.code, served.ledger.requests) == (3, sent), other
        ran = run_on(export, served, "--sheet", "S", "--id-field", "1", "--limit", 5, ids=60)
        assert (ran.code, served.pool.deleted) == (0, 55), ran.err
        export.unlink()
        ran = run_on(export, served, ids=60)
        assert (ran.code, served.pool.deleted) == (0, 60), ran.err


def test_the_rows_of_a_workbook_are_read_anew(tmp_path: Path) -> None:
    """A log that another may have written is compared with the workbook; so are the rows that `forget` has removed."""
    ids = user_ids(60)
    export = workbook(tmp_path / "e.xlsx", {"S": [["x", "id"], *(["", id_] for id_ in ids)]})
    other = {**KEYS, "XDG_STATE_HOME": str(tmp_path.parent / f"{tmp_path.name}-state")}
    with sandbox(ids) as served:
        assert run_on(export, served, "--limit", 50, ids=60).code == 0
        words = ("run", "delete-users", export, "--host", served.url, "--rate", 0, "--confirm", 60, "--pool", POOL)
        ran = bulkdel(*words, env=other)
        assert (ran.code, served.pool.deleted) == (0, 60), ran.err
        place = log_of(export).parent
        assert bulkdel("forget", place, "--confirm", 1).code == 0
        found = bulkdel("results", place, "--export", export)
        assert (found.code, [json.loads(line)["id"] for line in found.out.splitlines()]) == (0, ids), found.err
        copied = workbook(tmp_path / "f.xlsx", {"S": [["x", "id"], *(["", id_] for id_ in reversed(ids))]})
        found = bulkdel("results", place, "--export", copied)
        assert (found.code, "is not the export of this run" in found.err) == (3, True), found


def test_a_workbook_that_is_saved_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash would be that of other rows."""
    ids = user_ids(5)
    export = workbook(tmp_path / "e.xlsx", {"S": [["id"], *([id_] for id_ in ids)]})
    convert = converting._convert  # noqa: SLF001 - no other place is between the reading and the check

    def convert_and_change(table: Any, *more: Any, **kept: Any) -> dict[str, Any]:
        found = convert(table, *more, **kept)
        with export.open("ab") as file:
            file.write(b"x")
        return found

    monkeypatch.setattr(converting, "_convert", convert_and_change)
    options: Any = {"run": tmp_path / "run", "host": "http://127.0.0.1:9", "environ": KEYS}
    with pytest.raises(NotAcceptable, match="was changed while it was read"):
        run_sync("delete-users", export, ids=5, pool=POOL, **options)
    assert names(tmp_path) == ["e.xlsx"]


def encrypted(path: Path) -> None:
    """The beginning of an encrypted workbook: an OLE file whose directory names the encrypted package."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHH", 0x3E, 3, 0xFFFE, 9) + bytes(480)
    path.write_bytes(head + "EncryptedPackage".encode("utf-16-le") + bytes(2000))


def bomb(path: Path) -> None:
    """A sheet of which the ZIP says that it becomes 80 MB."""
    book = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with book, book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
        for _ in range(10):
            part.write(bytes(8 << 20))


def liar(path: Path) -> None:
    """The same, but the ZIP says that it stays small."""
    bomb(path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "two.xlsx": (lambda path: workbook(path, {"A": [["id"], ["x"]], "B": [["id"], ["y"]]}), "--sheet"),
    "hidden.xlsx": (lambda path: workbook(path, {"A": [], "B": [["id"], ["y"]]}, ["B"]), "hidden: 'B'"),
    "above.xlsx": (lambda path: workbook(path, {"A": [[], [None, "id"], [None, "y"]]}), "first row"),
    "empty.xlsx": (lambda path: workbook(path, {"A": []}), "no ids"),
    "junk.xlsx": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(500)), "damaged workbook"),
    "old.xls": (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "damaged workbook"),
    "locked.xlsx": (encrypted, "encrypted workbook"),
    "bomb.xlsx": (bomb, "would become"),
    "liar.xlsx": (liar, "damaged workbook"),
    "junk.parquet": (lambda path: path.write_bytes(b"PAR1" + bytes(500) + b"PAR1"), "damaged Parquet"),
    "cut.parquet": (
        lambda path: (pq.write_table(pa.table({"id": ["x"] * 9}), path), path.write_bytes(path.read_bytes()[:-9])),
        "damaged Parquet",
    ),
}


@mutant(
    "a sheet is named and a file without sheets is sent",
    "ExportReading._open",
    swap("not of_workbook", "not options"),
)
def test_a_sheet_of_a_file_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    """The user meant another file. An exclude file may be the workbook."""
    ids = user_ids(5)
    (tmp_path / "export.csv").write_text("\n".join(["id", *ids]))
    keep = workbook(tmp_path / "keep.xlsx", {"S": [["id"], [ids[0]]]})
    ran = plan(tmp_path / "export.csv", "--sheet", "S")
    assert (ran.code, "--sheet S: " in ran.err, "is no workbook" in ran.err) == (2, True, True), ran
    assert plan(tmp_path / "export.csv", "--sheet", "S", "--exclude", keep).code == 0


@mutant(
    "a hidden sheet is read without being named",
    "_sheet",
    swap("[name for name in visible if has_rows(name)]", "[name for name in hidden if has_rows(name)]"),
    case="hidden.xlsx",
)
@pytest.mark.parametrize("name", one_in(6, REFUSED))
def test_what_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    export = tmp_path / name
    write, says = REFUSED[name]
    write(export)
    ran = plan(export)
    assert ran.code == 3, ran.err
    assert says in ran.err
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is left behind"


@pytest.mark.soak
def test_the_sheet_of_the_export_may_be_another_than_that_of_an_exclude_file(tmp_path: Path) -> None:
    """The plan names the sheet of each exclude file, and its hidden ones. A named sheet is taken where there is one."""
    ids = user_ids(4)
    rows = {id_: [["id"], [id_]] for id_ in ids}
    export = workbook(tmp_path / "e.xlsx", {"A": [["id"], *([id_] for id_ in ids)], "B": [["id"], ["x"]]})
    keep = workbook(tmp_path / "k.xlsx", {"Keep": rows[ids[0]], "Old": rows[ids[1]]}, hidden=["Old"])
    ran = plan(export, "--sheet", "A", "--exclude", keep)
    assert ran.code == 0, ran.err
    assert f"1 id to keep in {keep}, sheet 'Keep'" in ran.out
    assert f"{keep}: hidden and not read: Old" in ran.out
    assert "3 ids in " in ran.out
    both = workbook(tmp_path / "b.xlsx", {"Keep": rows[ids[0]], "A": [["id"], *([id_] for id_ in ids[:2])]})
    assert "2 ids in 1 request" in plan(export, "--sheet", "A", "--exclude", both).out
    two = workbook(tmp_path / "t.xlsx", {"Keep": rows[ids[0]], "More": rows[ids[1]]})
    ran = plan(export, "--sheet", "A", "--exclude", two)
    assert (ran.code, "several sheets have rows" in ran.err) == (3, True), ran.err


def test_a_sheet_that_is_named_is_read_also_when_it_is_hidden(tmp_path: Path) -> None:
    ids = user_ids(4)
    sheets = {"A": [["id"], [ids[0]]], "B": [["id"], [ids[1]]], "C": [["id"], *([id_] for id_ in ids)]}
    export = workbook(tmp_path / "e.xlsx", sheets, hidden=["C"])
    ran = plan(export, "--sheet", "C", "--json")
    assert (ran.code, json.loads(ran.out)["ids"], json.loads(ran.out)["sheet"]) == (0, 4, "C"), ran.err
    ran = plan(export, "--sheet", "D")
    assert (ran.code, "'A', 'B'; hidden: 'C'" in ran.err) == (3, True), ran.err


def test_whole_records_need_json_lines(tmp_path: Path) -> None:
    export = workbook(tmp_path / "e.xlsx", {"A": [["id"], ["x"]]})
    ran = bulkdel("plan", "restore-users", export, "--passwords", "none", env={})
    assert (ran.code, "Export the records as JSON Lines" in ran.err) == (3, True), ran.err


@pytest.mark.traced
def test_parquet_types(tmp_path: Path) -> None:
    """Integers, dictionaries, UUIDs and members of structs are ids; fractions and nulls are bad rows."""
    uuids = [uuid.UUID(int=i) for i in range(4)]
    table = pa.table(
        {
            "int": pa.array([2**63 - 1, 2, 3, None], pa.int64()),
            "word": pa.array(["a", "b", "a", "c"]).dictionary_encode(),
            "uuid": pa.array([each.bytes for each in uuids], pa.binary(16)),
            "float": pa.array([1.0, 2.5, None, 4.0]),
            "user": pa.array([{"mail": f"m{i}@x.de"} for i in range(4)]),
            "tags": pa.array([["x"]] * 4),
        }
    )
    export = tmp_path / "e.parquet"
    pq.write_table(table, export, row_group_size=2)
    for column, ids, bad in (("int", 3, 1), ("word", 3, 0), ("uuid", 4, 0), ("float", 2, 2), ("user.mail", 4, 0)):
        place = tmp_path / column
        options = ("--id-type", "external_id", "--skip-invalid", "10", "--run", place)
        words = ("run", "delete-users", export, "--id-field", column, *options, "--sandbox", "--json")
        ran = bulkdel(*words)
        assert (ran.counts()["deleted"], ran.counts().get("invalid", 0)) == (ids, bad), (column, ran.err)
        first = {"int": str(2**63 - 1), "word": "a", "uuid": str(uuids[0]), "float": "1", "user.mail": "m0@x.de"}
        rows = [json.loads(line) for line in bulkdel("results", place).out.splitlines()]
        assert (len(rows), rows[0]["id"]) == (4, first[column])
    ran = plan(export, "--id-field", "tags")
    assert (ran.code, "no column tags" in ran.err) == (3, True), ran.err


@mutant(
    "accounts that were looked up are not protected",
    "look_up_excluded",
    swap(
        "LookedUp(protected.plus(ids), tuple(ids), accounts, without, tuple(not_found))",
        "LookedUp(protected, (), accounts, without, tuple(not_found))",
    ),
    case="",
)
@pytest.mark.parametrize("ending", one_in(2, ["", ":n:name"]))
def test_an_exclude_file_of_another_id_type_protects_by_look_up(tmp_path: Path, ending: str) -> None:
    """A run by user id, and a list of addresses. An address is of no account, and the plan says so."""
    kept = tmp_path / f"vips{ending}.csv"  # a file whose own name has colons wins
    kept.write_text(text([["Mail"], *([mail.upper()] for mail in VIPS[:70]), ["gone@example.com"]], ",", "\n"))
    with sandbox([*VIPS[:70], *OTHERS], "email") as served:
        ids = served.pool.user_ids("user_id")
        export = tmp_path / "e.txt"
        export.write_text("".join(f"{id_}\n" for id_ in ids))
        options = ("--exclude", f"{kept}:Mail:email")
        ran = run_on(export, served, *options, "--json", command="plan")
        found = json.loads(ran.out)
        assert (found["ids"], found["excluded"]) == (60, 70), ran.err
        assert found["exclude_looked_up"] == {"accounts": 70, "without_id": 0, "not_found": 1}
        assert "gone@" not in ran.out + ran.err
        ran = run_on(export, served, *options, "--limit", 50, ids=60)
        left_out = "70 of these ids to keep are in the export, so 70 rows are left out"
        assert (ran.code, left_out in " ".join(ran.err.split())) == (0, True), ran.err
        sent = served.ledger.requests
        for other in (f"{kept}:Mail", str(kept)):
            ran = run_on(export, served, "--exclude", other, ids=60)
            assert (ran.code, served.pool.deleted) == (3, 50), (other, ran.err)
        assert served.ledger.requests == sent
        ran = run_on(export, served, *options, ids=60)
        assert ran.counts() == {"deleted": 60, "excluded": 70}, ran.err
        assert [served.pool.find_alive("email", mail) is not None for mail in VIPS[:70]] == [True] * 70


def test_accounts_of_two_other_types_are_all_protected(tmp_path: Path) -> None:
    """A record shows identities only when it is asked for them, and a look-up by email has to ask too."""
    pool, idp = Pool(), "a" * 24
    pool.add_ids([f"{idp}:u{i}" for i in range(60)], "identity")
    export = tmp_path / "e.txt"
    export.write_text("".join(f"{id_}\n" for id_ in pool.user_ids("identity")))
    mail, relation = pool.user_ids("email")[0], pool.user_ids("sync_relation")[1]
    (tmp_path / "mail.csv").write_text(f"Mail\n{mail}\n")
    (tmp_path / "sync.csv").write_text(f"Sync\n{relation}\n")
    excluded = ("--exclude", f"{tmp_path}/mail.csv:Mail:email", "--exclude", f"{tmp_path}/sync.csv:Sync:sync_relation")
    with serve_in_thread(pool, Switches()) as served:
        ran = run_on(export, served, "--id-type", "identity", "--format", "lines", *excluded, ids=58)
        assert ran.counts() == {"deleted": 58, "excluded": 2}, ran.err
        assert (pool.find_alive("email", mail), pool.find_alive("sync_relation", relation)) == (0, 1)


def test_an_exclude_file_in_utf_8_stays_so_behind_a_megabyte_without_accents(tmp_path: Path) -> None:
    """--encoding is for the export here, and the exclude file is UTF-8: its only accent is in its last row."""
    export, kept = tmp_path / "crm.csv", tmp_path / "keep.csv"
    ids = [*(f"user{i}" for i in range(50)), "jürgen"]
    export.write_bytes(text([["username", "Ort"], *([id_, "Köln"] for id_ in ids)]).encode("cp1252"))
    kept.write_bytes(("username\n" + "".join(f"keep{i:09}\n" for i in range(90_000)) + "jürgen\n").encode())
    with sandbox(ids, "username") as served:
        options = ("--id-type", "username", "--id-field", "username", "--encoding", "cp1252", "--exclude", kept)
        ran = run_on(export, served, *options, ids=50)
        assert ran.counts() == {"deleted": 50, "excluded": 1}, ran.err
        assert served.ledger.effects("jürgen", "username") == 0


@pytest.mark.parametrize(
    ("value", "said"), [("#N/A", "line 4: 'empty': an empty id"), (None, "formulas without their values")]
)
def test_a_formula_without_an_id_at_the_end_of_a_list_is_refused(tmp_path: Path, value: str | None, said: str) -> None:
    kept, made = tmp_path / "vips.xlsx", tmp_path / "made.xlsx"
    book = xlsxwriter.Workbook(str(made))
    sheet = book.add_worksheet()
    sheet.write_column(0, 0, ["Mail", *VIPS[:2]])
    sheet.write_formula(3, 0, '="vip2@"&"example.com"', None, value or "0")
    book.close()
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(kept, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"</f><v>0</v>", b"</f>"))
    export = tmp_path / "e.csv"
    export.write_text("Mail\n" + "\n".join([*VIPS[:3], *OTHERS]) + "\n")
    ran = plan(export, "--id-type", "email", "--id-field", "Mail", "--exclude", kept)
    assert (ran.code, said in ran.err) == (3, True), ran.err


@mutant(
    "look-ups that find no account protect as if there were none",
    "look_up_excluded",
    swap("found.empty and not lookup.control.proven", "found.unread"),
)
def test_look_ups_that_prove_nothing_refuse_the_run(tmp_path: Path) -> None:
    kept = tmp_path / "vips.csv"
    kept.write_text("Mail\n" + "\n".join(VIPS[:5]) + "\n")
    with sandbox([*VIPS[:5], *OTHERS], "email", blind=True) as served:
        export = tmp_path / "e.txt"
        export.write_text("".join(f"{id_}\n" for id_ in served.pool.user_ids("user_id")))
        ran = run_on(export, served, "--exclude", f"{kept}:Mail:email", "--allow-absent", ids=60)
        assert (ran.code, served.pool.deleted) == (4, 0), ran.err
        assert "not known which accounts" in ran.err


@mutant(
    "an account that was looked up for an exclude file and does not say its ids",
    "look_up_excluded",
    swap("of_run.says_ids", "bool"),
)
def test_an_account_that_does_not_say_its_ids_refuses_the_run(tmp_path: Path) -> None:
    """One of five addresses to keep belongs to a user whose record has no user id where it is read."""
    kept = tmp_path / "vips.csv"
    kept.write_text("Mail\n" + "\n".join(VIPS[:5]) + "\n")
    with sandbox([*OTHERS, *VIPS[:5]], "email") as served:
        export = tmp_path / "e.txt"
        export.write_text("".join(f"{id_}\n" for id_ in served.pool.user_ids("user_id")))
        number = served.pool.find_alive("email", VIPS[0])
        assert number is not None
        served.pool.change(number, {"userId": 7}, "2025-06-01T00:00:00.000Z")
        for command in ("plan", "run"):
            ran = run_on(export, served, "--exclude", f"{kept}:Mail:email", ids=60, command=command)
            assert (ran.code, served.pool.deleted) == (4, 0), ran.err
            assert "1 of 5 records that the server returned have no id where it is read (user_id)" in ran.err


@mutant(
    "an id with the mark of CSV loses it in a workbook",
    "_CsvReader._id",
    swap("id_.startswith(MARK) and not self._of_table", "id_.startswith(MARK)"),
    case="xlsx",
)
@pytest.mark.soak
@pytest.mark.parametrize("ending", one_in(3, ["xlsx", "parquet", "csv.gz"]))
def test_results_in_each_form_are_those_of_json_lines_and_can_be_fed_back(ending: str, tmp_path: Path) -> None:
    """Also an id that a spreadsheet would run, or with the mark of CSV before it. Only what was refused goes again."""
    ids = ["=1+1", "'@sum", "0049", "x_x0041_y", *(f"user{i}" for i in range(56))]
    export = tmp_path / "e.csv"
    export.write_text("id\n" + "\n".join(ids) + "\n")
    kind = ("--id-type", "external_id")
    with sandbox(ids, "external_id", poisonous=dict.fromkeys(ids[:4], (409, None))) as served:
        ran = run_on(export, served, *kind, "--chunk-size", 1, "--concurrency", 1, "--max-refused", "60", ids=60)
        assert ran.counts() == {"deleted": 56, "refused": 4}, ran.err
        served.switches = served.switches.changed({"poisonous": {}})
        log, out = log_of(export), tmp_path / f"r.{ending}"
        assert bulkdel("results", log, "--out", out).code == 0
        assert out.stat().st_mode & 0o777 == 0o600
        lines = [json.loads(line) for line in bulkdel("results", log).out.splitlines()]
        assert records(out) == [{name: text_in(name, value) for name, value in line.items()} for line in lines]
        if ending == "csv.gz":
            again = tmp_path / "again.csv.gz"
            assert bulkdel("results", log, "--out", again).code == 0
            assert again.read_bytes() == out.read_bytes()
        refused = tmp_path / f"refused.{ending}"
        assert bulkdel("results", log, "--only", "refused", "--out", refused).code == 0
        ran = run_on(out, served, *kind, ids=60)
        assert (ran.code, "outcome 'deleted'" in ran.err) == (3, True), ran.err
        ran = run_on(refused, served, *kind, ids=4)
        assert ran.counts() == {"deleted": 4}, ran.err
        assert served.pool.deleted == 60


def text_in(name: str, value: Any) -> Any:
    """A value of JSON Lines as the tables have it."""
    return value if name in {"position", "line", "attempts"} or isinstance(value, str) else json.dumps(value)


def records(path: Path) -> list[dict[str, Any]]:
    """Read a report with another reader; what is not known is left out."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".xlsx":
        names, *cells = python_calamine.load_workbook(path).get_sheet_by_index(0).to_python()
        rows = [dict(zip(names, row, strict=True)) for row in cells]
    else:
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
        numbers = ("position", "line", "attempts")
        rows = [{name: int(text) if name in numbers and text else text for name, text in row.items()} for row in rows]
        rows = [{**row, "id": row["id"].removeprefix("'")} for row in rows]  # its mark against formulas
    return [{name: value for name, value in row.items() if value not in ("", None)} for row in rows]


def test_a_workbook_of_results_has_as_many_sheets_as_its_rows_need(tmp_path: Path) -> None:
    with ExitStack() as stack, (tmp_path / "r.xlsx").open("wb") as file:
        book = Workbook(file, ["position", "id"], tmp_path, stack, 3)
        book.write({"position": i, "id": f"x{i}"} for i in range(5))
        with pytest.raises(NotAcceptable, match="row 5: id has more than 32,767 characters"):
            book.write([{"position": 5, "id": "x" * 32_768}])
        book.close()
    read = python_calamine.load_workbook(tmp_path / "r.xlsx")
    assert read.sheet_names == ["results", "results 2", "results 3"]
    assert read.get_sheet_by_index(1).to_python() == [["position", "id"], [2.0, "x2"], [3.0, "x3"]]
    assert [path.name for path in tmp_path.iterdir()] == ["r.xlsx"]


@pytest.mark.parametrize(("ending", "extra"), one_in(2, [("xlsx", "excel"), ("parquet", "parquet")]))
def test_without_the_extra_the_message_says_what_to_install(ending: str, extra: str, tmp_path: Path) -> None:
    for name in ("python_calamine", "xlsxwriter", "pyarrow"):
        (tmp_path / "lib" / name).mkdir(parents=True)
        (tmp_path / "lib" / name / "__init__.py").write_text("raise ImportError")
    export = tmp_path / f"e.{ending}"
    export.write_bytes(b"PK\x03\x04" if ending == "xlsx" else b"PAR1")
    words = [sys.executable, "-m", "bulkdel", "plan", "delete-users", str(export)]
    ran = subprocess.run(words, env=environment(importing_from(tmp_path / "lib")), capture_output=True, check=False)
    assert (ran.returncode, f"pip install '.[{extra}]' in the clone" in ran.stderr.decode()) == (2, True), ran.stderr


@pytest.mark.soak
def test_a_run_of_a_workbook_goes_on_where_it_is_unpacked(tmp_path: Path) -> None:
    """With the column of the exclude file, and a column of the export by its number. The workbook stays behind."""
    export = workbook(tmp_path / "e.xlsx", {"T": people([*VIPS[:20], *OTHERS])})
    kept = workbook(tmp_path / "k.xlsx", {"V": people(VIPS[:20], "Mail")})
    with sandbox([*VIPS[:20], *OTHERS], "email") as served:
        options = ("--id-field", "3", "--id-type", "email", "--exclude", f"{kept}:Mail")
        ran = run_on(export, served, *options, "--limit", 50, ids=60)
        assert ran.code == 0, ran.err
        packed = bulkdel("pack", log_of(export), "--out", tmp_path / "p.tar.zst")
        assert packed.code == 0, packed.err
        export.unlink()
        kept.unlink()
        unpacked = bulkdel("unpack", tmp_path / "p.tar.zst", "--to", tmp_path / "new")
        line = next(line for line in (unpacked.out + unpacked.err).splitlines() if line.startswith("  bulkdel run"))
        ran = bulkdel(*shlex.split(line)[1:], "--confirm", 60, "--pool", POOL)
        assert (ran.code, served.pool.deleted) == (0, 60), ran.err
        assert [served.ledger.effects(mail, "email") for mail in VIPS[:20]] == [0] * 20


@mutant(
    "what reads a table outlives a killed command",
    "main",
    only_if("sys.flags.dev_mode", "end_with_parent(drains=False)"),
)
def test_what_reads_a_table_ends_with_a_killed_command_which_goes_through_again(tmp_path: Path) -> None:
    """What reads it hangs in a library. When it has ended, nothing of the killed command is in the way."""
    export, hangs = workbook(tmp_path / "export.xlsx", {"Kunden": people(OTHERS)}), tmp_path / "hangs"
    hangs.mkdir()
    (hangs / "python_calamine.py").write_text("import time\ntime.sleep(600)\n")
    with sandbox([*OTHERS, *VIPS], "email") as served:
        where = ("--host", served.url, "--rate", 0, "--json", "--confirm", len(OTHERS), "--pool", POOL)
        words = ("run", "delete-users", export, *EMAILS, *where)
        process = start(*words, env={**KEYS, **importing_from(hangs)})
        wait_until(lambda: bool(processes_of(process.pid)), process)
        (child,) = processes_of(process.pid)
        process.kill()
        process.communicate()
        wait_until(lambda: not is_alive(child), timeout_s=30)
        assert served.ledger.requests == 0
        ran = bulkdel(*words)
        assert (ran.code, ran.counts()) == (0, {"deleted": len(OTHERS)}), ran
        assert [served.ledger.effects(id_, "email") for id_ in OTHERS] == [1] * len(OTHERS)


@mutant(
    "the zeros before a number count",
    "folded",
    swap("text if number is None else str(int(number[1]))", "text if number is None else number[0]"),
)
def test_a_number_that_a_sheet_shows_with_zeros_keeps_the_id_with_zeros(tmp_path: Path) -> None:
    """The cells of the exclude file hold 7 and 8, and show 00007 and 00008."""
    book = xlsxwriter.Workbook(str(tmp_path / "keep.xlsx"))
    sheet, zeros = book.add_worksheet(), book.add_format({"num_format": "00000"})
    sheet.write_column(0, 0, ["id", 7, 8], zeros)
    book.close()
    ids = ["00007", "00008", *(f"{number:05}" for number in range(1_000, 1_020))]
    export = write_objects(tmp_path / "users.jsonl", ids)
    with sandbox(ids, "external_id") as served:
        ran = run_on(
            export, served, "--id-type", "external_id", "--exclude", f"{tmp_path / 'keep.xlsx'}:id", ids=len(ids) - 2
        )
        assert (ran.code, ran.counts()) == (0, {"deleted": len(ids) - 2, "excluded": 2}), ran
        assert [served.ledger.sent(id_, "external_id") for id_ in ids[:2]] == [0, 0]
