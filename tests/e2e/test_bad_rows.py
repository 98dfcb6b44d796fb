"""Bad rows through the real command: all of them at once, how many are too many, and what is written about them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.examples import one_in
from tests.harness import POOL, bulkdel, names_in, run_on, sandbox, user_ids, write_objects
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(2_000)
MAILS = [f"u{i}@example.com" for i in range(50)]


def export_of(folder: Path, rows: Sequence[str], name: str = "export.csv", head: str = "id,name") -> Path:
    path = folder / name
    path.write_text("".join(f"{row}\n" for row in (head, *rows)))
    return path


def names(folder: Path) -> list[str]:
    return names_in(folder)


@mutant(
    "an export without a usable id is a run",
    "bad_rows_refusal",
    swap("bad < rows and bad <= allowed", "bad <= allowed"),
    case="run",
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_export_without_a_usable_id_is_refused(command: str, tmp_path: Path) -> None:
    """Also when so many bad rows are allowed. The answer names the option that is missing."""
    export = export_of(tmp_path, [f"{mail},x" for mail in MAILS])
    with sandbox(MAILS, "email") as served:
        ran = run_on(export, served, "--skip-invalid", "100%", command=command)
        assert ran.code == 3, (ran.out, ran.err)
        assert "all 50 rows are bad" in ran.err
        assert "50  line 2: 'u0@example.com,x': not a user_id" in ran.err
        assert "--id-type email" in ran.err
        assert served.ledger.requests == 0
        assert names(tmp_path) == ["export.csv"]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    """One table with the count, the first line and the text of each reason; damage is told at once instead."""
    bad = [",x", "oops,x", f" {IDS[0]},x", ",y", "u@example.com,x", f"{IDS[1]}", ",z"]
    export = export_of(tmp_path, [f"{id_},x" for id_ in IDS[:20]] + bad)
    with sandbox(IDS) as served:
        ran = run_on(export, served)
        assert ran.code == 3, ran.err
        assert "7 of 27 rows are bad" in ran.err
        table = [line.split(None, 1) for line in ran.err.splitlines() if line.startswith("  ")]
        assert table == [
            ["rows", "the first of them"],
            ["3", "line 22: ',x': an empty id"],
            ["1", "line 23: 'oops,x': not a user_id (24 lower-case hex digits)"],
            ["1", f"line 24: ' {IDS[0]},x': spaces around the id (--trim takes them off)"],
            ["1", "line 26: 'u@example.com,x': not a user_id (24 lower-case hex digits); looks like email"],
            ["1", f"line 27: '{IDS[1]}': 1 column, where the first row has 2"],
        ]
        assert "--skip-invalid" in ran.err
        assert served.ledger.requests == 0
        assert names(tmp_path) == ["export.csv"]
        with export.open("ab") as file:
            file.write(b"\xff,x\n")
        damaged = run_on(export, served, "--skip-invalid", "10")
        assert (damaged.code, "line 29" in damaged.err, "UTF-8" in damaged.err) == (3, True, True), damaged.err


@mutant(
    "one bad row more than allowed",
    "bad_rows_refusal",
    swap("bad <= allowed", "bad <= allowed + 1"),
    case="1199-12-1%-False",
)
@pytest.mark.parametrize(
    ("rows", "bad", "most", "accepted"),
    [
        (1_199, 11, "1%", True),
        (1_199, 12, "1%", False),
        (100, 1, "0", False),
        (1_000, 6, "0.5%", False),
    ],
)
def test_too_many_bad_rows(rows: int, bad: int, most: str, accepted: bool, tmp_path: Path) -> None:
    """More than --skip-invalid, which holds exactly."""
    # Blank rows at the end are no rows: were they, one more bad row would be allowed.
    export = export_of(tmp_path, [f"{id_},x" for id_ in IDS[: rows - bad]] + ["oops,x"] * bad + [","] * 200)
    with sandbox(IDS) as served:
        ran = run_on(export, served, "--skip-invalid", most, command="plan")
        assert ran.code == (0 if accepted else 3), (ran.out, ran.err)
        assert names(tmp_path) == ["export.csv"], "a plan writes nothing"
        if not accepted:
            assert f"{bad} of {rows:,} rows {'is' if bad == 1 else 'are'} bad" in ran.err
            assert f"{bad}  line {2 + rows - bad}: 'oops,x'" in ran.err
            assert served.ledger.requests == 0


def test_a_number_of_bad_rows_that_is_none(tmp_path: Path) -> None:
    ran = bulkdel("plan", "delete-users", export_of(tmp_path, [f"{IDS[0]},x"]), "--skip-invalid=٣%", env={})
    assert (ran.code, "--skip-invalid" in ran.err) == (2, True), ran.err


def test_what_is_left_out_is_written_when_the_run_begins(tmp_path: Path) -> None:
    """Not by a plan, nor by a run that was not confirmed; the rows as they stand, the reasons without their text."""
    export = export_of(tmp_path, [f"{IDS[0]},x", "oops,secret", f"{IDS[1]},x", ",secret"])
    left, reasons = (log_of(export).with_name(name) for name in ("invalid", "invalid.reasons.csv"))
    skip = ("--skip-invalid", "10")
    with sandbox(IDS) as served:
        plan = run_on(export, served, *skip, command="plan")
        assert plan.code == 0, plan.err
        assert "2 bad rows" in plan.out
        assert "1 row: an empty id; the first in line 5" in plan.out
        assert "secret" not in plan.out
        assert run_on(export, served, *skip, ids=7).code == 2
        assert names(tmp_path) == ["export.csv"]
        ran = run_on(export, served, *skip, ids=2)
        assert ran.counts() == {"deleted": 2, "invalid": 2}, ran.err
        assert served.ledger.deleted == 2
        assert f"left out are in {left}, the reasons in {reasons}" in ran.err
    assert left.read_text() == "id,name\noops,secret\n,secret\n"
    with reasons.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "reason"],
            ["3", "not a user_id (24 lower-case hex digits)"],
            ["5", "an empty id"],
        ]
    assert [path.stat().st_mode & 0o777 for path in (left, reasons)] == [0o600, 0o600]


def test_bad_rows_that_were_corrected_by_hand_are_not_overwritten(tmp_path: Path) -> None:
    """A plan and a resume leave the file alone and say nothing of it; only a new run would overwrite it."""
    export = export_of(tmp_path, [*(f"{id_},x" for id_ in IDS[:20]), "oops,x"])
    left, other = log_of(export).with_name("invalid"), tmp_path / "other"
    keep = tmp_path / "keep.txt"
    keep.write_text(f"{IDS[19]}\n")
    skip = ("--skip-invalid", "10")
    with sandbox(IDS) as served:
        assert run_on(export, served, *skip, "--limit", 5, ids=20).code == 0
        left.write_text(f"id,name\n{IDS[20]},x\n")
        resumed = run_on(export, served, *skip, "--exclude", keep, ids=19)
        assert resumed.counts() == {"deleted": 19, "excluded": 1, "invalid": 1}, resumed.err
        deleted = served.ledger.deleted
        other.mkdir()
        shutil.copy(left, other)
        plan = run_on(export, served, *skip, "--run", other, "--allow-absent", command="plan")
        assert (plan.code, "Move it away" in plan.err) == (0, False), plan.err
        again = run_on(export, served, *skip, "--run", other, "--allow-absent", ids=20)
        assert (again.code, "Move it away" in again.err) == (3, True), again.err
        assert served.ledger.deleted == deleted
    assert left.read_text() == (other / "invalid").read_text() == f"id,name\n{IDS[20]},x\n"
    assert names(other) == ["invalid"]


@mutant(
    "a file in the way of the reasons is said to be that of the bad rows",
    "InvalidRows.write",
    swap("error.filename2 or error.filename", "to"),
    case="invalid.reasons.csv",
)
@pytest.mark.parametrize("name", ["invalid", "invalid.reasons.csv"])
def test_the_file_that_is_in_the_way_of_the_bad_rows_is_named(name: str, tmp_path: Path) -> None:
    export = export_of(tmp_path, [f"{IDS[0]},x", "oops,x"])
    own = log_of(export).with_name(name)
    own.parent.mkdir(parents=True)
    own.write_text("mine\n")
    with sandbox(IDS) as served:
        ran = run_on(export, served, "--skip-invalid", 1, ids=1)
        assert (ran.code, f"bulkdel: {own}: holds something else" in ran.err) == (3, True), ran.err
        assert (own.read_text(), served.ledger.deleted) == ("mine\n", 0)
        own.unlink()
        again = run_on(export, served, "--skip-invalid", 1, ids=1)
        assert again.counts() == {"deleted": 1, "invalid": 1}, again.err


def test_how_many_bad_rows_may_be_left_out_may_change_on_a_resume(tmp_path: Path) -> None:
    export = export_of(tmp_path, [*(f"{id_},x" for id_ in IDS[:40]), *["oops,x"] * 20])
    skip = ("--skip-invalid", "10")
    with sandbox(IDS) as served:
        assert run_on(export, served, *skip, ids=40).code == 3
        first = run_on(export, served, "--skip-invalid", "50%", "--limit", 10, ids=40)
        assert first.code == 0, first.err
        ran = run_on(export, served, *skip, ids=40)
        assert ran.counts() == {"deleted": 40, "invalid": 20}, ran.err
        assert served.ledger.deleted == 40


def test_a_bad_exclude_file_is_told_whole(tmp_path: Path) -> None:
    """Every reason with the file's name, in the one try that read its rows, although bad rows of the export may go."""
    export = export_of(tmp_path, [f"{mail};x" for mail in MAILS], head="E-Mail;Name")
    keep = export_of(tmp_path, [f"n;{MAILS[0]}", "n;n/a", "n;", "n;", ";"], "keep.csv", "Name;E-Mail")
    options = ("--id-type", "email", "--id-field", "e-mail", "--exclude", keep)
    with sandbox(MAILS, "email") as served:
        ran = run_on(export, served, *options, "--skip-invalid", "100%", ids=49)
        assert ran.code == 3, ran.err
        assert f"{keep}: 3 of 4 rows are bad" in ran.err
        assert "2  line 4: 'n;': an empty id" in ran.err
        assert "1  line 3: 'n;n/a': not an email" in ran.err
        assert served.ledger.requests == 0
        export_of(tmp_path, [f"n;{MAILS[0]}", ";", ";"], "keep.csv", "Name;E-Mail")
        ran = run_on(export, served, *options, ids=49)
        assert ran.counts() == {"deleted": 49, "excluded": 1}, ran.err
        assert served.pool.find_alive("email", MAILS[0]) is not None


@mutant(
    "an invisible letter to keep",
    "IdCheck.check",
    swap("id_.isascii", "id_.isprintable"),
)
@mutant(
    "an id to keep may have an invisible character",
    "read_excluded",
    swap(
        "replace(options, skip_invalid=None, whole=False, protects=True)",
        "replace(options, skip_invalid=None, whole=False, protects=False)",
    ),
)
@pytest.mark.parametrize(
    ("first", "char"),
    one_in(
        3,
        [
            *(("", "\u200b"), ("another\n", "\u3164"), ("", "\ufe0f")),
            *(("", "\u034f"), ("", "\u2800"), ("", "\u200d")),
        ],
    ),
)
def test_an_id_to_keep_with_an_invisible_character_refuses_the_file(tmp_path: Path, first: str, char: str) -> None:
    """It would protect no account, and looks as if it did. The export may have such an id."""
    people = ["anna", "ben", f"an{char}na"]
    export = write_objects(tmp_path / "e.jsonl", people, "username")
    keep = tmp_path / "keep.txt"
    keep.write_text(f"{first}an{char}na\n")
    options = ("--id-type", "username", "--id-field", "username")
    with sandbox(people, "username") as served:
        ran = run_on(export, served, *options, "--exclude", keep, ids=3)
        assert (ran.code, served.ledger.requests) == (3, 0), ran.err
        assert (str(keep) in ran.err, f"line {1 + len(first.splitlines())}: " in ran.err) == (True, True), ran.err
        assert f"the invisible character U+{ord(char):04X} in the id" in ran.err
        ran = run_on(export, served, *options, ids=3)
        assert (ran.code, served.ledger.deleted) == (0, 3), ran.err


@mutant(
    "an exclude file read from another column",
    "_preflight",
    swap("error.usable", "error.usable < 0"),
)
def test_a_bad_row_among_the_ids_to_keep_is_not_read_from_another_column(tmp_path: Path) -> None:
    """The file would also be read by the usual name, `id`; but that column holds other ids."""
    export = export_of(tmp_path, [f"{id_},x" for id_ in IDS[:40]], head="account,name")
    keep = export_of(tmp_path, [f"{IDS[0]},{IDS[-1]}", f",{IDS[-2]}"], "keep.csv", "account,id")
    with sandbox(IDS) as served:
        ran = run_on(export, served, "--id-field", "account", "--exclude", keep, ids=40)
        assert ran.code == 3, (ran.out, ran.err)
        assert f"{keep}, line 3: ',{IDS[-2]}': an empty id" in ran.err
        assert served.ledger.deleted == 0


def test_a_piped_export_leaves_its_bad_rows_in_the_place_of_the_run(tmp_path: Path) -> None:
    """A plan leaves no file. A resume names the same files."""
    data = "".join(f"{row}\n" for row in ("id", *IDS[:20], "oops")).encode()
    place = tmp_path / "run"
    bad = place / "invalid"
    skip = ("--run", place, "--skip-invalid", "10")
    with sandbox(IDS) as served:
        url = ("--host", served.url, "--rate", 0)
        plan = bulkdel("plan", "delete-users", "-", *url, *skip, input=data)
        assert (plan.code, names(tmp_path)) == (0, []), plan.err
        confirm = ("--confirm", 20, "--pool", POOL)
        first = bulkdel("run", "delete-users", "-", *url, *skip, *confirm, "--limit", 5, input=data)
        assert first.code == 0, first.err
        last = bulkdel("run", "delete-users", "-", *url, *skip, *confirm, "--as-confirmed", input=b"")
        assert last.code == 0, last.err
        assert f"left out are in {bad}, the reasons in {bad}.reasons.csv" in last.err
        assert served.ledger.deleted == 20
    assert names(tmp_path) == ["run"]
    assert names(place) == ["invalid", "invalid.reasons.csv", "log.jsonl"]
