"""A report in a real browser: on a desktop, on a phone, dark, and printed on A4.

`make test-page` runs these tests, and keeps the pictures.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import (
    Change,
    Changed,
    ChangedBy,
    Entry,
    Found,
    Outcome,
    Session,
    Skipped,
    Throttled,
    stamp,
)
from bulkdel.report.html import page
from tests.browser.driving import FOLDER, Browser, browsing
from tests.e2e.test_spared import change
from tests.harness import POOL, Case, bulkdel, case, user_ids
from tests.places import log_of
from tests.recorded import AT
from tests.unit.test_report_reading import START, pinned, read, refused, report_of, stop, verified_run

IDS = user_ids(600, seed=28)
DAYS = (1, 10, 20, 45, 70, 80, 120, 150, 200, 250, 300, 350, 400, 500, 600, 650, 700, 800, 900, 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


def ago(days: float) -> str:
    return time.strftime("%Y-%m-%dT12:00:00.000Z", time.gmtime(time.time() - days * 86_400))


def signed_in(it: Case) -> None:
    """Give the users of the server sign-ins of every age, and three statuses."""
    for number, id_ in enumerate(IDS):
        last = None if number % 9 == 0 else ago(DAYS[number % len(DAYS)])
        status = "Suspended" if number % 7 == 0 else "Archived" if number % 31 == 0 else "Activated"
        change(it, [id_], lastLogin=last, status=status)


def leavers(folder: Path, name: str) -> Path:
    """An export with bad and repeated rows, and a list of ids to keep beside it."""
    export = folder / name
    export.write_text("id\n" + "".join(f"{id_}\n" for id_ in [*IDS, *IDS[40:52], "bad", "worse", "", "0"]))
    (folder / "kept.csv").write_text("Kontakt (geschäftlich)\n" + "".join(f"{id_}\n" for id_ in IDS[:30]))
    return export


def everything(folder: Path) -> str:
    """A page on which each part has something to show: pauses, responses 429, findings of every kind, long names."""

    def at(seconds: float) -> str:
        return stamp(1_772_000_000 + seconds)

    def settled(seconds: range) -> list[list[Entry]]:
        return [[Outcome(at(n), 1, "done", ((400 * n, 400 * n + 400),))] for n in seconds]

    by = {"user": "friedrich-wilhelm.von-und-zu-hohenstein", "machine": "vm-build-eu-central-1-0123456789abcdef"}
    note = "CHG-1234: " + "approved by the board, " * 8
    facts = {**START.facts, **by, "note": note, "guards": {"active_since": "2026-02-01T00:00:00Z"}}
    begun = [replace(START, at=at(begin), facts=facts) for begin in (0, 90_000)]
    counts = {"never": 3, "over_2_years": 150, "under_30_days": 20, "unknown": 7}
    sample = {"asked": 200, "found": 180, "sign_ins": counts}
    header = pinned(100_000, sample=sample, at=at(0), export_path="/x/" + "a_long_name_of_an_export_" * 5 + ".csv")
    codes = [403, 404, *[422] * 40, *[499] * 9, *["aRuleOfTheServer"] * 3, 4_915_112_345_678]
    bad = [
        refused(*((80_000 + n, {"code": code}) for n, code in enumerate(codes))),
        refused(*((81_000 + n, {"reason": "perhaps re-created"}) for n in range(9)), kind="unknown"),
    ]
    log: list[list[Entry]] = [
        [header],
        [begun[0]],
        *settled(range(100)),
        [Change(at(101), Changed.PAUSED, True, ChangedBy.CTL, "ops")],
        [Change(at(130), Changed.PAUSED, False, ChangedBy.CTL, "ops")],
        *settled(range(131, 200)),
        [Throttled(at(160), 5)],
        [replace(stop("halted", 4), at=at(200))],
        [begun[1]],
        [each._replace(at=at(90_010)) for each in bad],
        [Skipped("excluded", ((82_000, 95_000),), Spared.ACTIVE)],
        [Outcome(at(90_020), 1, "absent", ((96_000, 97_000),), None, "unproven")],
    ]
    gone = Found(AT, "gone", ((0, 30_000),)), Found(AT, "there", ((30_000, 31_000),))
    found = verified_run(folder, read(folder, *log), START, *gone, Session("stop", AT, "", {"why": "done"}))
    return page(replace(report_of(found), title="Ausgeschiedene: Rindfleischetikettierungsüberwachung"))


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by name: of a run in two sessions that was verified, of one that is not finished, and of both.

    browser: it comes first, because without it none of them is made.
    """
    folder = tmp_path_factory.mktemp("reports")
    export, other = leavers(folder, "leavers of November.csv"), leavers(folder, "second.csv")
    guards = ["--spare", f"active-since={ago(90)[:10]}", "--exclude", f"{folder}/kept.csv:Kontakt (geschäftlich)"]
    poisonous = dict.fromkeys(IDS[106:109], (422, 7)) | {IDS[315]: (403, 1010)}
    with case(folder, IDS, poisonous=poisonous) as it:
        signed_in(it)
        words = [
            *("--host", it.served.url, "--skip-invalid", "10", "--chunk-size", 10, "--backup", *guards),
            *("--note", "CHG-1234, approved by the board", "--confirm", 570, "--pool", POOL, "--json"),
        ]
        run = ["run", "delete-users", export, *words]
        assert bulkdel(*run, "--limit", 250, "--rate", 20).code == 0
        ran = bulkdel(*run, "--rate", 20)
        assert ran.code == 1, ran.err
        assert bulkdel("verify", log_of(export), "--host", it.served.url, "--rate", 0).code == 0
        assert bulkdel("run", "delete-users", other, *words, "--limit", 20, "--allow-absent").code == 0
    everything_shown = folder / "everything.html"
    everything_shown.write_text(everything(folder))
    runs = {"report": [export], "unfinished": [other], "several": [export, other]}
    found = {name: folder / f"{name}.html" for name in runs}
    for name, exports in runs.items():
        assert bulkdel("report", *exports, "--ticket", "CHG-1234", "--out", found[name], env={}).code == 0
    return {**found, "everything": everything_shown}


@pytest.mark.parametrize("name", ["report", "unfinished", "several", "everything"])
def test_it_can_be_read(name: str, pages: dict[str, Path], browser: Browser) -> None:
    """Nothing has to be scrolled sideways, axe-core finds nothing, and the Tab key has nothing to stop at."""
    browser.open(pages[name].as_uri())
    browser.judge(name)
    assert browser.call("evaluate", WIDER) == []
    for _ in range(3):
        browser.call("press", "body", "Tab")
    assert browser.call("evaluate", "document.activeElement.tagName") == "BODY"
    told = browser.told()
    assert (told["errors"], told["hosts"]) == ([], ["file"])


WIDER = """[...document.querySelectorAll('body *')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== 'visible')
  .map((each) => each.outerHTML)"""
"""What has to be scrolled sideways, or is cut."""


def printed(browser: Browser, page: Path) -> list[Sequence[bytes]]:
    """The pages of the PDF, as rows of grey pixels. A reader with a dark screen prints it."""
    browser.open(page.as_uri(), scheme="dark")
    pdf = FOLDER / f"{page.stem}.pdf"
    browser.call("pdf", {"path": str(pdf), "preferCSSPageSize": True, "printBackground": True})
    for old in FOLDER.glob(f"{page.stem}-print-*"):
        old.unlink()
    to = FOLDER / f"{page.stem}-print"
    subprocess.run(["pdftoppm", "-png", "-r", "70", str(pdf), str(to)], check=True)
    subprocess.run(["pdftoppm", "-gray", "-r", "20", str(pdf), str(to)], check=True)
    return [grey(each.read_bytes()) for each in sorted(FOLDER.glob(f"{to.name}-*.pgm"))]


def grey(pgm: bytes) -> list[bytes]:
    found = re.match(rb"P5\s+(\d+)\s+(\d+)\s+255\s", pgm)
    assert found is not None
    width, pixels = int(found[1]), pgm[found.end() :]
    return [pixels[at : at + width] for at in range(0, len(pixels), width)]


@pytest.mark.parametrize(("name", "most"), [("report", 3), ("unfinished", 3), ("several", 6), ("everything", 4)])
def test_it_prints_on_a4(name: str, most: int, pages: dict[str, Path], browser: Browser) -> None:
    """Black on white, no page but the last one is half empty, and the verification stands beside its hash."""
    sheets = printed(browser, pages[name])
    assert len(sheets) <= most
    for sheet in sheets:
        assert sum(row.count(255) for row in sheet) > sum(map(len, sheet)) / 2
    filled = [max(at for at, row in enumerate(sheet) if min(row) < 200) / len(sheet) for sheet in sheets]
    assert min(filled[:-1]) > 0.6, filled
    text = subprocess.run(["pdftotext", str(FOLDER / f"{name}.pdf"), "-"], capture_output=True, text=True, check=True)
    of_pages = text.stdout.split("\f")
    proofs = [each.count("Is it proven?") for each in of_pages]
    assert sum(proofs) == (2 if name == "several" else 1)
    assert [each.count("SHA-256 of the log") for each in of_pages] == proofs


def test_a_log_that_was_changed(pages: dict[str, Path], browser: Browser) -> None:
    folder = pages["report"].parent
    log = log_of(folder / "second.csv")
    log.write_bytes(log.read_bytes().replace(b'"attempts":1', b'"attempts":2', 1))
    page = folder / "changed.html"
    assert bulkdel("report", log, "--out", page, env={}).code == 3
    browser.open(page.as_uri())
    browser.judge("changed")
