"""`bulkdel report`: it answers what became of the rows and why, and holds no id, no name and no message."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from bulkdel.commands.report import ReportArguments, report
from bulkdel.errors import FileFailed, NotAcceptable, UsageError
from bulkdel_jobs.sandbox import DELETE_PATH, Pool, Switches, serve
from tests.faultserver import KEY_ID, KEYS, SECRET, FaultServer, envelope, json_answer
from tests.harness import DELETIONS, POOL, Ran, bulkdel, case, kill, sandbox, user_ids, write_objects
from tests.mutants import mutant
from tests.places import log_of
from tests.rawserver import ReceivedRequest
from tests.recorded import let_pass
from tests.syntax import swap

NAMES = [f"{first} {last}" for first in ("Anna", "Boris", "Chloe", "Dmitri", "Élodie") for last in ("Miller", "Okafor")]
MAILS = [f"{name[0].lower()}.{name.split()[1].lower()}{i}@example.com" for i, name in enumerate(NAMES)]
INVALID = "code 422 (invalid operation: a rule of the server forbids it)"
PHONES = [f"+49170{i:07d}" for i in range(1234567, 1234567 + len(NAMES))]


def report_of(*logs: object, out: Path | None = None, **popen: Any) -> Ran:
    return bulkdel("report", *logs, *(["--out", out] if out else []), env={}, **popen)


def facts(folder: Path, *logs: Path, **more: Any) -> dict[str, Any]:
    """The JSON of a report."""
    out = folder / f"{len(list(folder.iterdir()))}.json"
    report(ReportArguments(logs, out, **more))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@dataclass(slots=True)
class Gossip(FaultServer):
    """A server that names the user whom it refuses to delete."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        pool = Pool.from_ids(self.ids, "email")
        async with serve(pool, Switches(), keys={KEY_ID: SECRET}) as self.sandbox, self.raw.running():
            yield self

    async def answered(self, request: ReceivedRequest, *, effect: bool) -> bytes:
        if urlsplit(request.target).path == DELETE_PATH and MAILS[3].encode() in request.body:
            said = f"{NAMES[3]} is on leave, ask {NAMES[2]} ({PHONES[3]}) for {MAILS[3]}"
            return json_answer(envelope(status_code=422, message=said, requestId=MAILS[2]))
        return await FaultServer.answered(self, request, effect=effect)


@mutant(
    "a report shows a text that holds a value of the export",
    "_texts.name",
    swap("check.holds(value)", "check.holds(value) and not value"),
)
@mutant(
    "a report compares its texts with the ids only",
    "compare",
    swap("check.see(value)", "check.see(value[:0])"),
)
@mutant(
    "a title may hold an id",
    "_with_what_may_be_shown",
    swap("check.holds(text)", "check.holds(text) and not option"),
)
async def test_no_value_of_the_export_is_in_it(tmp_path: Path) -> None:
    """An export of e-mails, names and phones; one of them is in each text that could reach a report."""
    export = tmp_path / "leavers.csv"
    rows = [",".join([*row, "Activated"]) for row in zip(MAILS, NAMES, PHONES, strict=True)]
    export.write_text("\n".join(["email,name,phone,status", *rows, "broken,Nobody Known,,", ""]))
    vips = tmp_path / f"vips of {NAMES[4]}.csv"
    vips.write_text(f"email\n{MAILS[4]}\n")
    log = tmp_path / f"run-{MAILS[0]}" / "log.jsonl"
    async with Gossip(MAILS).running() as server:
        words = [
            *("run", "delete-users", export, "--id-type", "email", "--host", server.url, "--rate", 0, "--json"),
            *("--skip-invalid", "10", "--exclude", vips, "--run", log.parent, "--chunk-size", 2),
            *("--note", f"as {NAMES[1]} asked", "--confirm", len(MAILS) - 1, "--pool", POOL, "--id-field", "email"),
        ]
        ran = await asyncio.to_thread(bulkdel, *words, env=KEYS)
    assert ran.code == 1, ran.err
    assert ran.summary["refused"] == 1
    told = log.read_text()
    assert all(text in told for text in (f"as {NAMES[1]}", f"{NAMES[3]} is on leave", vips.name, MAILS[3]))
    page, values = tmp_path / "page.html", tmp_path / "values.json"
    assert report_of(log, out=page).code == 0
    report(ReportArguments([log], values))
    written = "\n".join(path.read_text().casefold() for path in (page, values))
    parts = [
        part
        for text in (*NAMES, *MAILS)
        for part in re.split(r"[ .@]", text)
        if part not in {"example", "com"} and len(part) > 2
    ]
    quoted = [value for value in (*MAILS, *NAMES, *PHONES, *parts, "broken", "on leave") if value.casefold() in written]
    assert not quoted
    run = json.loads(values.read_text())["runs"][0]
    left_out = "(left out: it holds an id or another value of the export)"
    assert run["name"] == run["note"] == run["excluded"][0]["name"] == left_out
    assert run["export"]["name"] == "leavers.csv"
    refused = next(each for each in run["outcomes"] if each["kind"] == "refused")
    assert refused["reasons"] == [{"words": INVALID, "count": 1}]
    assert run["sample"]["statuses"] == [{"words": "Activated", "count": len(MAILS) - 1}], "an id alone leaves it out"
    no = tmp_path / "no.html"
    with pytest.raises(UsageError, match="--title: holds an id"):
        report(ReportArguments([log], no, title=f"for {NAMES[5]}"))
    with pytest.raises(UsageError, match="--ticket: holds an id"):
        report(ReportArguments([log], no, ticket=MAILS[6]))
    assert not no.exists()
    report(ReportArguments([log], tmp_path / "titled.html", title="Leavers of May"))


IDS = user_ids(500, seed=5)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder and the log of a run in two sessions, and the facts before and after its verification."""
    folder = tmp_path_factory.mktemp("done")
    export = folder / "export.jsonl"
    export.write_text("".join(f'"{id_}"\n' for id_ in [*IDS, IDS[40], "bad", ""]) + '{"id":"x"}\n')
    kept = folder / "kept.jsonl"
    kept.write_text("".join(f'"{id_}"\n' for id_ in IDS[:20]))
    with sandbox([*IDS, "f" * 24], poisonous={IDS[30]: (422, 7)}) as served:
        words = [
            *("run", "delete-users", export, "--host", served.url, "--rate", 100, "--json", "--skip-invalid", "10"),
            *("--exclude", kept, "--confirm", 480, "--pool", POOL, "--note", "CHG-1234", "--chunk-size", 10),
        ]
        assert bulkdel(*words, "--limit", 200).code == 0
        assert bulkdel(*words).code == 1
        assert served.pool.deleted == 479
        log = log_of(export)
        before = facts(folder, log)
        assert bulkdel("verify", log, "--host", served.url, "--rate", 0).code == 0
        after = facts(folder, log, title="Leavers", ticket="CHG-1234")
    (folder / "before").write_text(json.dumps(before))
    (folder / "after").write_text(json.dumps(after))
    return folder, log


def test_it_answers_how_many_why_and_by_which_user(done: tuple[Path, Path]) -> None:
    found = json.loads((done[0] / "after").read_text())
    run = found["runs"][0]
    assert found["title"] == "Leavers"
    assert found["sentence"] == (
        "479 users were deleted, of an export of 504 rows. Of the other rows, 1 was refused; 20 were protected; "
        "1 has the same id as an earlier row; 3 have no usable id."
    )
    assert found["light"] == "look"
    assert run["to_look_at"] == ["1 row was refused by the server."], "bad rows were left out as chosen"
    reasons = {each["kind"]: each["reasons"] for each in run["outcomes"]}
    assert reasons["refused"] == [{"words": f"{INVALID}, apiCode 7", "count": 1}]
    assert reasons["excluded"] == [{"words": "protected: in an exclude file, or the key's own user", "count": 20}]
    assert sum(each["count"] for each in reasons["invalid"]) == 3
    assert {"words": "an empty id", "count": 1} in reasons["invalid"]
    assert sum(each["count"] for each in run["outcomes"]) == run["rows"] == 504
    assert run["excluded"][0]["name"] == "kept.jsonl"
    assert run["note"] == "CHG-1234"
    first, second = run["sessions"]
    assert first["ended"] == "--limit was reached"
    assert second["ended"] == "every row has its outcome"
    assert first["by"].endswith(f" on {os.uname().nodename}")
    assert first["confirmed"] == f"480 ids in pool {POOL}, by --confirm and --pool"
    assert {"option": "--limit", "value": "200"} in first["options"]
    assert {"option": "--rate", "value": "100"} in first["options"]
    assert len(run["throughput"]["sessions"]) == 2
    assert run["audit"]["holds"]
    status = json.loads(bulkdel("status", "--json", done[1], env={}).out)
    assert run["audit"]["sha256"] == status["log_sha256"]


def test_what_was_sent_is_not_called_never_sent_and_what_was_not_is_not_called_sent(tmp_path: Path) -> None:
    """A row is excluded after it was sent without a response, and a guard spares the first of two rows with one id."""
    ids = user_ids(2)
    with case(tmp_path, ids, users=[*ids, *user_ids(5, seed=9)], share_drop_before=1.0) as it:
        it.switch(fault_paths=frozenset({DELETE_PATH}))
        assert it.run().code == 4
        it.switch(share_drop_before=0.0)
        let_pass(it.log, 11)
        kept = write_objects(tmp_path / "kept.jsonl", ids[:1])
        it.ids -= 1
        ran = it.run("--exclude", kept)
        assert (ran.counts(), it.served.ledger.sent(ids[0]) > 0) == ({"deleted": 1, "excluded": 1}, True), ran
        excluded = meaning(facts(tmp_path, it.log), "excluded")
        assert "never sent" not in excluded
        assert "If sent before, that had no effect." in excluded
    again = tmp_path / "again"
    again.mkdir()
    with case(again, [*ids, ids[0]], users=ids) as it:
        ran = it.run("--only-status", "Suspended")
        assert (ran.counts(), it.served.ledger.sent(ids[0])) == ({"excluded": 2, "duplicate": 1}, 0), ran
        assert "sent" not in meaning(facts(again, it.log), "duplicate")


def meaning(found: dict[str, Any], kind: str) -> str:
    """What a report says that an outcome of its run means."""
    (text,) = [each["meaning"] for each in found["runs"][0]["outcomes"] if each["kind"] == kind]
    assert isinstance(text, str)
    return text


def test_it_says_whether_it_was_verified(done: tuple[Path, Path]) -> None:
    before, after = (json.loads((done[0] / name).read_text())["runs"][0] for name in ("before", "after"))
    assert before["verification"] is None
    assert before["proof"].startswith("It has not been verified")
    found = after["verification"]
    assert (found["gone"], found["checked"], found["still_there"], found["could_not_tell"]) == (479, 479, 0, 0)
    assert found["of_this_log"]
    assert re.fullmatch(r"A verification on \d+ \w+ \d{4} looked up 479 of 479: all gone\.", after["proof"])


def test_the_page_is_one_file_without_a_script(done: tuple[Path, Path]) -> None:
    page = report_of(done[1]).out
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "@page { size: A4" in page
    assert "<svg" in page
    assert not re.search(r"<script|<link|<img|<iframe|\son\w+=|url\(|@import|javascript:", page, re.IGNORECASE)
    assert not re.search(r"\b(src|href|action|data)\s*=", page)
    assert "bulkdel status --audit export.jsonl.runs/delete-users\n" in page
    assert "sha256sum export.jsonl.runs/delete-users/log.jsonl" in page
    assert not [id_ for id_ in IDS if id_ in page]


@pytest.mark.traced
def test_what_people_type_is_escaped(done: tuple[Path, Path]) -> None:
    page = bulkdel("report", done[1], "--title", "<script>alert(1)</script>", "--ticket", "&<b>", env={}).out
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Ticket &amp;&lt;b&gt;" in page


def test_no_names(done: tuple[Path, Path]) -> None:
    machine = os.uname().nodename
    page = bulkdel("report", done[1], "--no-names", env={}).out
    assert f">{machine}<" not in page
    assert f"on {machine}" not in page
    assert page.count("(left out: --no-names)") >= 3  # the sessions and the verification
    assert f"on {machine}" in report_of(done[1]).out


def test_where_it_is_written(done: tuple[Path, Path], tmp_path: Path) -> None:
    log, out = done[1], tmp_path / "r.html"
    assert report(ReportArguments([log], out)) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    refused = {
        "is there already": ReportArguments([log], out),
        "ends in .html or .json": ReportArguments([log], tmp_path / "r.pdf"),
        "name a run, or its export": ReportArguments([]),
        "--title ' ': one line": ReportArguments([log], title=" "),
    }
    shutil.copytree(log.parent, tmp_path / "copy")
    refused["copy: is of the same run as "] = ReportArguments([log, tmp_path / "copy"])
    for words, arguments in refused.items():
        with pytest.raises(UsageError, match=words):
            report(arguments)
    with pytest.raises(FileFailed, match="No file was left behind"):
        report(ReportArguments([log], tmp_path / "no" / "r.html"))
    with pytest.raises(NotAcceptable, match="there is no such run"):
        report(ReportArguments([tmp_path / "none"]))
    ours, theirs = pty.openpty()
    place = log.parent.relative_to(done[0])
    try:
        ran = bulkdel("report", place, env={}, cwd=done[0], stdout=theirs)
        assert ran.code == 0, ran.err
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"The report is {place}/report.html." in ran.err
    assert (log.parent / "report.html").stat().st_mode & 0o777 == 0o600
    with Path("/dev/full").open("wb") as full:
        assert report_of(log, stdout=full).code == 5


def test_several_runs_make_one_report(done: tuple[Path, Path], tmp_path: Path) -> None:
    with case(tmp_path, IDS[:100]) as it:
        assert it.run("--limit", 40, "--chunk-size", 10).code == 0
        left = it.run("--limit", 1, "--chunk-size", 10).summary["remaining"]
        found = facts(tmp_path, done[1], it.log)
        page = report_of(done[1], it.export).out
    gone = 100 - left
    assert found["counts"]["deleted"] == 479 + gone
    assert found["counts"]["remaining"] == left
    assert found["rows"] == 604
    assert found["light"] == "not finished"
    assert found["sentence"].startswith(f"2 runs with 604 rows: {479 + gone} deleted, ")
    assert found["sentence"].endswith("Of the runs: 1 to look at, 1 not finished.")
    assert '<h2 class="run">2. export.jsonl.runs/delete-users</h2>' in page
    assert "practice" not in found["sentence"]
    (tmp_path / "-p.jsonl").write_text(f'"{IDS[0]}"\n')
    assert bulkdel("run", "delete-users", "./-p.jsonl", "--sandbox", env={}, cwd=tmp_path).code == 0
    practice = log_of(tmp_path / "-p.jsonl", sandbox=True).parent
    sentence = facts(tmp_path, done[1], practice)["sentence"]
    assert "1 of the rows was practice on a sandbox: no real account was touched." in sentence
    assert "<pre>bulkdel results ./-p.jsonl.runs/delete-users.sandbox --only" in report_of(practice).out


@mutant(
    "a report of a changed log says that the audit holds",
    "_audit",
    swap("found.fault is None", "found.commits >= 0"),
)
@mutant(
    "a report of a run under way calls it finished",
    "_light",
    swap("run.progress.complete", "run.progress.rows"),
)
@pytest.mark.traced
def test_under_way_killed_changed_and_without_its_export(tmp_path: Path) -> None:
    """The page says so, whatever the state of the log. An id in the log's own name is in the export too."""
    slow: dict[str, Any] = {"latency_after_s": 0.5, "fault_paths": DELETIONS}
    with case(tmp_path, IDS, options=["--rate", 0, "--concurrency", 1], **slow) as it:
        process = it.start("--note", "CHG-1")
        it.wait_until_deleted(100)
        running = facts(tmp_path, it.log)["runs"][0]
        kill(process)
    assert (running["state"], running["light"]) == ("running", "not finished")
    assert running["sessions"][0]["ended"] == "it is under way"
    with it.log.open("ab") as log:
        log.write(b'{"seq":')
    killed = facts(tmp_path, it.log)["runs"][0]
    assert (killed["state"], killed["light"]) == ("killed", "not finished")
    assert killed["sessions"][0]["ended"] == "it was killed, the machine went down, or its log could not be written"
    assert killed["audit"]["holds"]
    assert killed["audit"]["torn_bytes"] == 7
    assert next(each for each in killed["outcomes"] if each["kind"] == "remaining")["reasons"] == [
        {"words": "sent, and no response came", "count": 50}
    ]
    it.export.rename(tmp_path / "elsewhere")
    ran = bulkdel("report", it.log, "--title", "Leavers", env={})
    assert ran.code == 0
    assert "They are left out" in ran.err
    assert "<h1>Users deleted: run of " in ran.out
    assert "CHG-1" not in ran.out
    assert "The export of this run could not be read" in ran.out
    lines = it.log.read_bytes().splitlines(keepends=True)
    changed = next(number for number, line in enumerate(lines) if b'"attempts":1' in line)
    lines[changed] = lines[changed].replace(b'"attempts":1', b'"attempts":2')
    it.log.write_bytes(b"".join(lines))
    ran = report_of(it.log)
    assert ran.code == 3
    assert "the report is written, and says that the audit failed" in ran.err
    assert f"The audit of the log FAILED after {changed} commits" in ran.out
    assert "nothing in this report can be relied on" in ran.out
    assert "the log cannot be read to its end" in ran.out
    assert "was killed" not in ran.out
