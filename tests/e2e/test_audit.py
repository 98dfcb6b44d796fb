"""`bulkdel status --audit`: what it says of a sound log, and that no change to one gets past it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bulkdel.checkpoint.audit import audit
from bulkdel.commands.status import print_audit
from bulkdel.core.log_entries import Entry, Outcome, Session, frame
from bulkdel.place.opening import log_at
from tests import recorded
from tests.harness import DELETIONS, POOL, Ran, bulkdel, case, finish, kill, user_ids
from tests.mutants import mutant
from tests.recorded import encode_line, nonce_of
from tests.syntax import swap

IDS = user_ids(1_000)
AT = "2026-01-01T00:00:00.000Z"


def audit_of(log: Path, *options: str) -> Ran:
    return bulkdel("status", "--audit", log, *options, env={})


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run of two sessions, complete."""
    with case(tmp_path_factory.mktemp("twice"), IDS) as it:
        assert it.run("--limit", 400).code == 0
        assert it.run().code == 0
        return it.log


def test_it_lists_each_session_its_user_and_the_confirmation(twice: Path) -> None:
    ran = audit_of(twice)
    assert ran.code == 0, ran.err
    status = json.loads(bulkdel("status", "--json", twice, env={}).out)
    commits = len(twice.read_bytes().splitlines())
    assert ran.out.splitlines()[-1] == (
        f"audit: 2 sessions, {commits} commits, SHA-256 {status['log_sha256']}, the counts add up to 1,000 rows"
    )
    assert ran.out.count(f"on {os.uname().nodename}, bulkdel 0.1.0") == 2
    assert ran.out.count(f"confirmed  1,000 ids in pool {POOL}, by --confirm and --pool") == 3  # header and sessions
    assert ran.out.count("stopped    done (exit 0)") == 2
    assert "--limit 400" in ran.out
    found = json.loads(audit_of(twice, "--json").out)
    assert found["audit"] == "holds"
    assert found["fault"] is None
    assert found["deleted"] == found["rows"] == 1_000
    first, second = found["sessions"]
    assert first["options"]["limit"] == 400
    ahead = {"ahead_s": first["confirmed"]["ahead_s"]}  # the clock of the server
    assert first["confirmed"] == {"ids": 1_000, "pool": POOL, "how": "options", **ahead}
    assert second["exit"] == 0
    assert second["stop"] is not None
    entries = [e for line in twice.read_bytes().splitlines() for e in json.loads(line)["entries"]]
    hashes = [e["log_sha256"] for e in entries if e["type"] == "session"]
    assert hashes == [s[name] for s in (first, second) for name in ("log_sha256", "log_sha256_at_stop")]


def test_it_says_what_was_excluded(tmp_path: Path) -> None:
    """By the name and the SHA-256 of the file: the ids in it are not in the log."""
    kept = tmp_path / "kept.jsonl"
    kept.write_text(f'"{IDS[0]}"\n')
    with case(tmp_path, IDS[:100]) as it:
        it.ids = 99
        assert it.run("--exclude", kept).code == 0
        sha256 = hashlib.sha256(kept.read_bytes()).hexdigest()
        assert f"excluded   the ids of {kept}, sha256 {sha256}" in audit_of(it.log).out
        found = [json.loads(line) for line in bulkdel("results", it.log, env={}).out.splitlines()]
    assert found[0] == {"position": 0, "line": 1, "id": IDS[0], "outcome": "excluded", "reason": "protected"}
    assert {row["outcome"] for row in found[1:]} == {"deleted"}


def test_under_way_and_killed(tmp_path: Path) -> None:
    """A session without a stop is either under way or was killed, and a torn tail is no fault."""
    slow: dict[str, Any] = {"latency_after_s": 1.0, "fault_paths": DELETIONS}
    with case(tmp_path, IDS, options=["--rate", 0, "--concurrency", 1], **slow) as it:
        process = it.start()
        it.wait_until_deleted(100)
        ran = audit_of(it.log)
        assert ran.code == 0, ran.err
        assert f"under way (pid {process.pid})" in ran.out
        kill(process)
        it.switch(latency_after_s=0.0)
        with it.log.open("ab") as log:
            log.write(b'{"seq":')
        ran = audit_of(it.log)
        assert ran.code == 0, ran.err
        assert "no stop entry: the run was killed, or the machine went down" in ran.out
        assert "torn bytes at the end" in ran.out
        assert "audit: 1 session, " in ran.out
        assert "add up to 1,000 rows" in ran.out
        assert json.loads(audit_of(it.log, "--json").out)["sessions"][0]["stop"] is None
        process = it.start()
        assert finish(process).code == 0
        ran = audit_of(it.log)
        assert ran.code == 0, ran.err
        assert "audit: 2 sessions, " in ran.out


def new_log(folder: Path) -> Path:
    """The path of a log in a place that is made."""
    place = folder / "run"
    place.mkdir()
    return place / "log.jsonl"


def lines_of(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines(keepends=True)


def framed(data: dict[str, Any]) -> bytes:
    """A line with a checksum that fits."""
    return frame(data["seq"], [orjson.dumps(entry) for entry in data["entries"]], data["nonce"])


def with_another_request_id(lines: list[bytes]) -> list[bytes]:
    """Another request_id in an outcome of the first session."""
    for number, line in enumerate(lines):
        data = json.loads(line)
        for entry in data["entries"]:
            if entry["type"] == "outcome":
                entry["request_id"] = "forged"
                return [*lines[:number], framed(data), *lines[number + 1 :]]
    raise AssertionError("no outcome")


def otherwise_confirmed(lines: list[bytes]) -> list[bytes]:
    """Another number confirmed."""
    data = json.loads(lines[0])
    data["entries"][0]["confirmed"]["ids"] = 999
    return [framed(data), *lines[1:]]


def by_somebody_else(lines: list[bytes]) -> list[bytes]:
    """Another user in the last session's start."""
    number = max(n for n, line in enumerate(lines) if b'"event":"start"' in line)
    data = json.loads(lines[number])
    for entry in data["entries"]:
        if entry["type"] == "session":
            entry["user"] = "mallory"
    return [*lines[:number], framed(data), *lines[number + 1 :]]


@mutant(
    "the hash of a session is not checked",
    "Reader._check",
    swap("entry.log_sha256 != self.sha.hexdigest()", "not entry.log_sha256"),
)
@pytest.mark.parametrize("forge", [with_another_request_id, otherwise_confirmed, by_somebody_else])
def test_an_edited_log_does_not_pass(forge: Callable[[list[bytes]], list[bytes]], twice: Path, tmp_path: Path) -> None:
    """Edited so that every checksum fits: the next session's hash tells, and where."""
    log = new_log(tmp_path)
    log.write_bytes(b"".join(forge(lines_of(twice))))
    ran = audit_of(log)
    assert ran.code == 3, ran.out
    assert "the audit failed" in ran.err
    assert f"{log}: line " in ran.err
    assert "found other bytes before it" in ran.err
    assert "audit: FAILED after" in ran.out
    assert "add up" not in ran.out
    found = audit_of(log, "--json")
    assert found.code == 3
    told = json.loads(found.out)
    assert told["audit"] == "failed"
    assert "found other bytes" in told["fault"]
    assert "deleted" not in told


@mutant(
    "an audit does not compare the hash that was kept apart",
    "print_audit",
    swap("expect.strip().lower() != found.sha256", "expect.strip().lower() in found.sha256"),
)
def test_a_changed_last_session_differs_in_the_hash_that_was_kept_apart(tmp_path: Path) -> None:
    """No hash in the log covers its last lines. `--expect` compares all of it with what the summary printed."""
    with case(tmp_path, IDS) as it:
        ran = it.run("--limit", 400)
        told = ran.summary["log_sha256"]
        assert audit_of(it.log, "--expect", told.upper()).code == 0
        *lines, _ = with_another_request_id(lines_of(it.log))
        last = json.loads(lines_of(it.log)[-1])
        (stop,) = last["entries"]
        stop["log_sha256"] = hashlib.sha256(b"".join(lines)).hexdigest()
        it.log.write_bytes(b"".join([*lines, framed(last)]))
        assert audit_of(it.log).code == 0
        changed = audit_of(it.log, "--expect", told)
        assert changed.code == 3
        assert (
            f"is not the log that was expected: its SHA-256 is {hashlib.sha256(it.log.read_bytes()).hexdigest()}"
            in (changed.err)
        )
        assert bulkdel("status", it.log, "--expect", told, env={}).code == 2


@mutant(
    "what no session wrote is believed",
    "_add",
    swap("not sessions or sessions[-1].stop is not None", "not sessions"),
)
def test_what_was_put_behind_the_last_session_does_not_pass(tmp_path: Path) -> None:
    """No hash of a session covers it, but no session can have written it."""
    with case(tmp_path, IDS) as it:
        assert it.run("--limit", 400).code == 0
        lines = lines_of(it.log)
        at = json.loads(bulkdel("status", "--json", it.log, env={}).out)["deleted"]
        forged = Outcome(AT, 1, "done", ((at, 1_000),))
        it.log.write_bytes(b"".join([*lines, encode_line(len(lines) + 1, [forged], nonce_of(lines))]))
        assert bulkdel("status", it.log, env={}).code == 0
        ran = audit_of(it.log)
        assert ran.code == 3
        assert f"line {len(lines) + 1} holds an entry (outcome) that no session wrote" in ran.err


def test_a_damaged_log_does_not_pass(twice: Path, tmp_path: Path) -> None:
    lines = lines_of(twice)
    log = new_log(tmp_path)
    log.write_bytes(b"".join([*lines[:5], lines[5].replace(b"2", b"3", 1), *lines[6:]]))
    ran = audit_of(log)
    assert ran.code == 3
    assert "line 6 (byte " in ran.err
    assert "audit: FAILED after 5 commits" in ran.out


def test_settled_twice_does_not_pass(tmp_path: Path) -> None:
    """Also when the hash of a later session covers it."""
    commits: list[list[Entry]] = [
        [recorded.header(100)],
        [Session("start", AT, "")],
        [recorded.deleted(0, 50)],
        [recorded.deleted(40, 60)],
        [Session("stop", AT, "")],
    ]
    log = new_log(tmp_path)
    log.write_bytes(b"".join(recorded.lines_of(commits)))
    found = audit(log_at(log))
    assert found.fault is not None
    assert "line 4" in found.fault
    assert "settled twice" in found.fault
    assert found.commits == 3


def test_counts_that_do_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit finds counts that do not add up, although `RunState` never makes them."""
    log = new_log(tmp_path)
    log.write_bytes(b"".join(recorded.lines_of([[recorded.header(100)], [Session("start", AT, "")]])))
    assert audit(log_at(log)).fault is None
    monkeypatch.setattr("bulkdel.checkpoint.audit.counts_of", lambda progress: {"deleted": 1, "remaining": 98})
    fault = audit(log_at(log)).fault
    assert fault is not None
    assert "do not add up to 100 rows: 1 deleted, 98 remaining" in fault


def test_what_an_old_log_does_not_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions without facts, a header that pins little: a question mark, and no traceback."""
    pinned = {**recorded.header().pinned, "job": "j", "host": "h", "id_type": "t", "sha256": "0"}
    from dataclasses import replace

    header = replace(recorded.header(100), pinned=pinned, confirmed={})
    sittings: list[list[Entry]] = [[header], [Session("start", AT, "")], [Session("stop", AT, "")]]
    log = new_log(tmp_path)
    log.write_bytes(b"".join(recorded.lines_of(sittings)))
    assert print_audit(log.parent, json=False) == 0
    out = capsys.readouterr().out
    assert "by         ?, ?" in out
    assert "confirmed  nothing" in out


@pytest.mark.traced
def test_of_nothing(tmp_path: Path) -> None:
    assert audit_of(tmp_path / "none").code == 3
    empty = new_log(tmp_path)
    empty.touch()
    ran = audit_of(empty.parent)
    assert ran.code == 3
    assert "audit: FAILED after 0 commits" in ran.out


def test_a_note_is_kept_and_shown(tmp_path: Path) -> None:
    """By `status` the latest one, by the audit that of each session; a note of two lines is refused."""
    with case(tmp_path, IDS[:100]) as it:
        assert it.run("--note", "one\ntwo").code == 2
        assert it.run("--limit", 50, "--note", "CHG-1234").code == 0
        assert it.run().code == 0
    assert "  note       CHG-1234\n" in bulkdel("status", it.log, env={}).out
    assert json.loads(bulkdel("status", "--json", it.log, env={}).out)["note"] == "CHG-1234"
    sessions = json.loads(audit_of(it.log, "--json").out)["sessions"]
    assert [session["note"] for session in sessions] == ["CHG-1234", None]
