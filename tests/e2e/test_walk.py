"""The whole walk of an offboarding, each step by the command that the one before has printed.

A CRM export with semicolons, a byte-order mark, e-mails and bad rows; 300 users to keep in a spreadsheet. One `plan`
finds the options. Then a plan, a run that stops, a hand-over to another user on another machine, its resume there, the
verification, the report.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import xlsxwriter

from tests.elsewhere import elsewhere
from tests.harness import POOL, Ran, bulkdel, sandbox

BAD = ("", "n/a", "two words@example.com", "a@example.com,b@example.com", "name at example.com")
KEPT = 300


def write_walk(folder: Path, rows: int) -> tuple[list[str], list[str]]:
    """Write crm.csv and vips.xlsx. Returns the addresses that are to go, and those to keep."""
    mails = [f"kunde{i}@example.com" for i in range(rows)]
    lines = ["Kundennummer;Vorname;Nachname;E-Mail;Telefon;Status"]
    lines += [f"{100_000 + i};Jürgen;Müller;{mail};+49 170 {i:07};aktiv" for i, mail in enumerate(mails)]
    for at, bad in enumerate(BAD):  # far behind the rows that are sampled, where there are so many
        lines.insert(len(lines) * (at + 4) // 10, f"{at};Max;Muster;{bad};;")
    (folder / "crm.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    kept = mails[:: rows // KEPT][:KEPT]
    book = xlsxwriter.Workbook(str(folder / "vips.xlsx"))
    sheet = book.add_worksheet("VIPs")
    for at, row in enumerate([["Name", "E-Mail", "Grund"], *(["Zoë", mail.title(), "Vertrag"] for mail in kept)]):
        sheet.write_row(at, 0, row)
    book.close()
    return [mail for mail in mails if mail not in set(kept)], kept


def commands_in(text: str) -> list[list[str]]:
    """The commands that a message prints, as words."""
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("  bulkdel ")]


@pytest.mark.parametrize("rows", [2_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_every_step_ends_with_the_next_command(rows: int, tmp_path: Path) -> None:
    going, kept = write_walk(tmp_path, rows)

    def does(words: list[str], *more: object) -> Ran:
        return bulkdel(*words, *more, cwd=tmp_path)

    with sandbox([*going, *kept], "email") as served:
        begin = ["plan", "delete-users", "crm.csv", "--exclude", "vips.xlsx", "--host", served.url, "--rate", "0"]
        refused = does(begin)
        assert (refused.code, served.ledger.requests) == (3, 0), refused.err
        assert f"Then {len(BAD)} of {rows + len(BAD):,} rows are bad:" in refused.err
        assert "bulkdel: vips.xlsx" not in refused.err, "the spreadsheet is read with the same options"

        planned = does(commands_in(refused.err)[-1])  # the one plan that was needed
        assert planned.code == 0, planned.err
        assert f"{KEPT} ids to keep in vips.xlsx" in planned.out
        run = commands_in(planned.out)[-1]
        assert run[run.index("--confirm") + 1 : run.index("--confirm") + 4] == [str(len(going)), "--pool", POOL]

        stopped = does(run, "--limit", len(going) // 2)
        assert (stopped.code, served.pool.deleted) == (0, len(going) // 2), stopped.err

        # Another user, on another machine, goes on with it.
        packed = does(commands_in(does(["status", "crm.csv"]).out)[-1])
        assert packed.code == 0, packed.err
        (unpack, _forget) = commands_in(packed.err)
        other = tmp_path / "other"
        other.mkdir()
        (tmp_path / "crm-delete-users.tar.zst").rename(other / "crm-delete-users.tar.zst")
        for left in tmp_path.glob("*.*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        unpacked = elsewhere(other, *unpack)
        assert unpacked.code == 0, unpacked.err
        asked = elsewhere(other, *commands_in(unpacked.err)[-1])
        assert (asked.code, served.pool.deleted) == (2, len(going) // 2), asked.err
        resumed = elsewhere(other, *commands_in(asked.err)[-1])
        assert resumed.code == 0, resumed.err
        assert [served.ledger.effects(mail, "email") for mail in kept] == [0] * KEPT
        assert [served.ledger.effects(mail, "email") for mail in going] == [1] * len(going)

        after = {words[0]: words for words in commands_in(resumed.err)}
        verified = elsewhere(other, *after["verify"])
        assert verified.code == 0, verified.err
        reported = elsewhere(other, *after["report"], "--out", tmp_path / "report.html")
        assert (reported.code, (tmp_path / "report.html").exists()) == (0, True), reported.err
        page = (tmp_path / "report.html").read_text()
        assert "vips.xlsx" in page
        assert "@example.com" not in page
