"""What the command reads by itself: CSV of spreadsheets, plain lists, column names without case."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness import bulkdel, entries, run_on, sandbox, user_ids
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(120)
MAILS = [f"u{i}@example.com" for i in range(60)]
NAMES = [f"name-{i}" for i in range(60)]


@mutant(
    "blank rows at the end count as rows",
    "_parse",
    swap(
        "without_blank_end(lines, dialect.delimiter, path)",
        "lines if dialect.delimiter else without_blank_end(lines, dialect.delimiter, path)",
    ),
)
def test_a_csv_as_excel_writes_it(tmp_path: Path) -> None:
    """`sep=;` names the delimiter, empty rows at the end are no rows, and the column's name is found without case."""
    export = tmp_path / "crm.csv"
    rows = [f"n{i};{mail};a, b" for i, mail in enumerate(MAILS)]
    export.write_bytes("\r\n".join(["sep=;", "Name;E-Mail;Grund", *rows, ";;", ' ;"" ;', "", ";;", ""]).encode())
    keep = tmp_path / "vips.csv"
    keep.write_bytes("\r\n".join(["Grund;e-mail", *(f"x;{mail}" for mail in MAILS[:7]), ";", ";", ""]).encode())
    options = ("--id-type", "email", "--id-field", "e-mail", "--exclude", keep)
    with sandbox(MAILS, "email") as served:
        ran = run_on(export, served, *options, "--limit", 10, ids=53)
        assert ran.code == 0, ran.err
        ran = run_on(export, served, *options, ids=53)
        assert ran.counts() == {"deleted": 53, "excluded": 7}, ran.err
        assert served.ledger.deleted == 53
        assert all(served.pool.find_alive("email", mail) is not None for mail in MAILS[:7])
    found = bulkdel("results", log_of(export), "--only", "deleted").out.splitlines()
    assert [(row["line"], row["id"]) for row in map(json.loads, found)] == [
        (number, mail) for number, mail in enumerate(MAILS, 3) if mail not in MAILS[:7]
    ]


def test_a_line_number_is_true_below_sep(tmp_path: Path) -> None:
    export = tmp_path / "x.csv"
    export.write_text(f"sep=|\nname|ID\nx|{IDS[0]}\n|\nx|oops\n|\n|\n")
    ran = bulkdel("plan", "delete-users", export, env={})
    assert ran.code == 3
    assert "2 of 3 rows are bad" in ran.err
    assert "line 4: '|': an empty id" in ran.err
    assert "line 5: 'x|oops': not a user_id" in ran.err


def test_a_plain_list(tmp_path: Path) -> None:
    """One id a line, without a word about it where the ids have a shape; its first line is an id."""
    export = tmp_path / "ids.txt"
    export.write_bytes("\r\n".join([*IDS, "", ""]).encode())
    with sandbox(IDS) as served:
        plan = bulkdel("plan", "delete-users", export, "--host", served.url)
        assert plan.code == 0, plan.err
        assert "one id a line, recognised by the shape of a user_id" in plan.out
        assert IDS[0] in plan.out
        assert run_on(export, served, "--limit", 50, ids=120).code == 0
        ran = run_on(export, served, ids=120)
        assert ran.counts() == {"deleted": 120}, ran.err
        assert served.ledger.sent_times() == {1: 120}
    found = bulkdel("results", log_of(export)).out.splitlines()
    assert [(row["line"], row["id"]) for row in map(json.loads, found)] == list(enumerate(IDS, 1))


def test_a_plain_list_of_free_text_wants_the_word(tmp_path: Path) -> None:
    """Such a file may as well be a column with its heading. Said once, a resume has to say it too."""
    export = tmp_path / "names.txt"
    export.write_text("".join(f"{name}\n" for name in NAMES))
    keep = tmp_path / "keep.txt"
    keep.write_text("".join(f"{name}\n" for name in NAMES[:5]))
    named = ("--id-type", "username", "--exclude", keep)
    with sandbox(NAMES, "username") as served:
        unsaid = run_on(export, served, *named, ids=55)
        assert (unsaid.code, "--format lines" in unsaid.err) == (3, True), unsaid.err
        assert run_on(export, served, *named, "--format", "lines", "--limit", 10, ids=55).code == 0
        header = entries(log_of(export))[0]
        assert header["pinned"]["source"]["format"] == "lines"
        assert list(header["excluded"].values()) == [str(keep)]
        other = run_on(export, served, *named, "--id-field", "1", ids=55)
        assert (other.code, "--format: the log has 'lines'" in other.err) == (3, True), other.err
        ran = run_on(export, served, *named, "--format", "lines", ids=55)
        assert ran.counts() == {"deleted": 55, "excluded": 5}, ran.err
        assert served.ledger.deleted == 55
        verified = bulkdel("verify", log_of(export), "--host", served.url, "--rate", 0)
        assert verified.code == 0, verified.err
    both = bulkdel("plan", "delete-users", export, "--format", "lines", "--id-field", "id", env={})
    assert (both.code, "--id-field" in both.err) == (2, True), both.err


@mutant(
    "a csv file read as a list of ids to keep",
    "_ways",
    swap('[options] if options.format != "lines" or bare else []', "[options]"),
)
def test_a_csv_is_no_list_to_keep(tmp_path: Path) -> None:
    """Each of its lines is a free-text id, and would protect no user."""
    export = tmp_path / "names.txt"
    export.write_text("".join(f"{name}\n" for name in NAMES))
    keep = tmp_path / "keep.csv"
    keep.write_text(f"login,why\n{NAMES[0]},x\n")
    with sandbox(NAMES, "username") as served:
        ran = run_on(export, served, "--id-type", "username", "--format", "lines", "--exclude", keep, ids=60)
        assert ran.code == 3, ran.err
        assert f"{keep}, line 1: no column for the id; there are: 'login', 'why'" in ran.err
        assert served.ledger.requests == 0


def test_an_exclude_file_that_a_session_has_added_is_named_when_it_is_missing(tmp_path: Path) -> None:
    """The place has the ids of the first session's, so that one is not needed."""
    export = tmp_path / "ids.txt"
    export.write_text("".join(f"{id_}\n" for id_ in IDS))
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(f"{IDS[-1]}\n")
    two.write_text(f"{IDS[-2]}\n")
    with sandbox(IDS) as served:
        both = ("--exclude", one, "--exclude", two)
        assert run_on(export, served, "--exclude", one, "--limit", 15, ids=119).code == 0
        assert run_on(export, served, *both, "--limit", 5, ids=118).code == 0
        one.unlink()
        forgotten = run_on(export, served, "--exclude", one, ids=118)
        assert forgotten.code == 3
        assert f"{two}: is not given now" in forgotten.err
        assert str(one) not in forgotten.err
        two.write_text(f"{IDS[-3]}\n")
        changed = run_on(export, served, *both, ids=118)
        assert (changed.code, f"{two}: was changed since" in changed.err) == (3, True), changed.err
        two.unlink()
        gone = run_on(export, served, *both, ids=118)
        assert (gone.code, str(two) in gone.err) == (3, True), gone.err
        assert served.ledger.deleted == 20
        audit = bulkdel("status", "--audit", log_of(export)).out
        assert f"excluded   the ids of {two}, sha256 " in audit


def test_an_address_is_answered_with_a_pipe(tmp_path: Path) -> None:
    """One that cannot be read, and before anything is looked for in a folder. An exclude file is copied first."""
    piped = bulkdel("run", "delete-users", "ftp://b/users.jsonl.gz", "--limit", 5, env={}, cwd=tmp_path)
    assert piped.code == 2
    assert (
        "  curl -fsSL ftp://b/users.jsonl.gz | "
        "bulkdel run delete-users - --limit 5 --run users.jsonl.gz.runs/delete-users\n"
    ) in piped.err
    copied = bulkdel("plan", "delete-users", "missing/x", "--exclude", "sftp://b/c/x.csv", env={}, cwd=tmp_path)
    assert copied.code == 2
    assert "  curl -fsSL sftp://b/c/x.csv > x.csv\n" in copied.err
    assert list(tmp_path.iterdir()) == []
