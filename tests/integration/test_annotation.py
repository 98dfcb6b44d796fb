"""Annotations of a log: appended under its lock, durable, checked by every reader, and harmless to the run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bulkdel.checkpoint.annotation import annotate, annotating
from bulkdel.checkpoint.audit import audit
from bulkdel.checkpoint.index import LogIndex
from bulkdel.checkpoint.reader import read_log
from bulkdel.checkpoint.takeover import holder
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.commands.status import print_audit, print_status
from bulkdel.core.log_entries import Annotation, Entry, Outcome, Session, frame
from bulkdel.core.summary import counts_of
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.opening import log_at
from tests import recorded, second_reader
from tests.checkpoint_child import ANNOTATION_CALLS
from tests.mutants import mutant
from tests.recorded import AT, NONCE, append, deleted, encode_line, state
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
COMMITS = recorded.commits()
LINES = recorded.lines_of(COMMITS)
WHOLE = b"".join(LINES)
BY = {"tool": "bulkdel 0.1.0", "user": "u", "machine": "m", "pid": 7}
BEGUN: Mapping[str, Any] = {**BY, "state": "begun", "run": "r.jsonl"}
ENDED: Mapping[str, Any] = {
    **BY,
    "state": "ended",
    "run": "r.jsonl",
    "rows": 10_000,
    "restored": 9_998,
    "remaining": 0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_bytes(WHOLE)
    return path


def annotations_of(path: Path) -> list[tuple[str, Any]]:
    return [(entry.event, entry.facts.get("state")) for entry in read_log(log_at(path)).progress.annotations]


def agreed(path: Path) -> None:
    """Every reader finds what the log said before it was annotated."""
    log, second = read_log(log_at(path)), second_reader.read(path)
    plain = recorded.settled_by(len(COMMITS), COMMITS)
    assert state(log.progress) == state(plain)
    assert second.counts() == counts_of(plain)
    assert second.sha256 == log.sha256
    with LogIndex.of(log_at(path)) as index:
        assert index.sha256 == log.sha256
        assert [result.kind for result in index.between(388, 396)] == ["remaining", "refused", "remaining", "excluded"]
    assert audit(log_at(path)).fault is None


def test_an_annotation_is_a_line_of_its_own_with_the_hash_of_all_before_it(path: Path) -> None:
    annotate(log_at(path), "undo", BEGUN, AT)
    before = path.read_bytes()
    annotate(log_at(path), "undo", ENDED, AT)
    lines = path.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:-2]) == WHOLE
    first, second = map(json.loads, lines[-2:])
    assert len({NONCE, first["nonce"], second["nonce"]}) == 3
    (entry,) = second["entries"]
    sha256 = hashlib.sha256(before).hexdigest()
    assert entry == {"type": "annotation", "event": "undo", "at": AT, "log_sha256": sha256, **ENDED}
    agreed(path)


async def test_a_run_goes_on_after_annotations(path: Path) -> None:
    with annotating(log_at(path)) as log:
        log.add("forget", BEGUN, AT)
        log.add("forget", ENDED, AT)
        assert [entry.facts["state"] for entry in log.progress.annotations] == ["begun", "ended"]
    checkpoint = Checkpoint.resume(log_at(path))
    assert checkpoint.progress.in_doubt.size == 9
    await append(checkpoint, Session("start", AT, "", {"pid": 1}))
    await append(checkpoint, deleted(380, 390), deleted(391, 395))
    await append(checkpoint, Session("stop", AT, "", {"why": "end"}))
    checkpoint.close()
    annotate(log_at(path), "undo", BEGUN, AT)
    log_ = read_log(log_at(path))
    assert (log_.progress.complete, log_.progress.sessions) == (True, 2)
    assert annotations_of(path) == [("forget", "begun"), ("forget", "ended"), ("undo", "begun")]
    assert second_reader.read(path).counts() == counts_of(log_.progress)
    found = audit(log_at(path))
    assert found.fault is None
    assert [line for line, _ in found.annotations] == [len(LINES) + 1, len(LINES) + 2, len(LINES) + 6]


def test_a_torn_tail_is_saved_and_cut_off_first(path: Path) -> None:
    torn = b'{"seq":45,"entries":[{"type":"inte'
    with path.open("ab") as file:
        file.write(torn)
    annotate(log_at(path), "undo", BEGUN, AT)
    assert path.with_name(f"{path.name}.torn-45").read_bytes() == torn
    assert path.read_bytes().startswith(WHOLE + b'{"seq":45,"entries":[{"type":"annotation"')
    agreed(path)


def test_a_run_under_way_is_named_and_its_log_is_left_alone(path: Path) -> None:
    path.unlink()
    command = [sys.executable, "-m", "tests.checkpoint_child", "hold", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"held {process.pid}\n"
        before = path.read_bytes()
        with pytest.raises(NotAcceptable, match=rf"another run \(pid {process.pid}\) is under way"):
            annotate(log_at(path), "undo", BEGUN, AT)
        assert path.read_bytes() == before
        process.communicate(timeout=WAIT_MAX_S)
    annotate(log_at(path), "undo", BEGUN, AT)
    assert annotations_of(path) == [("undo", "begun")]


def test_a_killed_run_is_not_taken_for_what_annotates_its_log(path: Path) -> None:
    path.write_bytes(b"".join(LINES[:20]))
    with annotating(log_at(path)) as log:
        assert (
            holder(log_at(path), read_log(log_at(path)).progress) == 1
        )  # what the killed session says, until there is more
        log.add("forget", BEGUN, AT)
        assert holder(log_at(path), read_log(log_at(path)).progress) is None
        with pytest.raises(NotAcceptable, match="another run is under way"):
            Checkpoint.resume(log_at(path))


@mutant(
    "a session may go on with the nonce of an annotation",
    "Reader._check",
    swap("nonce != self._nonce or annotates is not self._annotates", "nonce != self._nonce"),
)
@mutant(
    "an annotation is no part of the chain of hashes",
    "Reader._check",
    swap("{Session, Annotation}", "{Session}"),
)
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(
            [frame(45, [b'{"type":"annotation","event":"nap","at":"2026-03-01T12Z","log_sha256":""}'], "a" * 16)],
            "unknown annotation",
            id="event",
        ),
        pytest.param(
            [encode_line(45, [Annotation("undo", AT, "0" * 64)], "a" * 16)],
            "the annotation that stands here found other bytes before it",
            id="hash",
        ),
        pytest.param(
            [encode_line(45, [Annotation("undo", AT, ""), deleted(380, 381)], "a" * 16)],
            "an annotation shares its line",
            id="before another entry",
        ),
        pytest.param(
            [encode_line(45, [Annotation("undo", AT, ""), Annotation("undo", AT, "")], "a" * 16)],
            "an annotation shares its line",
            id="beside another annotation",
        ),
        pytest.param([encode_line(45, [Annotation("undo", AT, "")])], "belongs to another session", id="run's nonce"),
        pytest.param(
            ["annotation", encode_line(46, [deleted(380, 381)], f"{45:016x}")],
            "belongs to another session",
            id="an outcome with the annotation's nonce",
        ),
        pytest.param(
            ["annotation", encode_line(46, [Session("start", AT, "")], f"{45:016x}")],
            "belongs to another session",
            id="a session with the annotation's nonce",
        ),
        pytest.param(
            ["annotation", encode_line(46, [deleted(380, 381)])],
            "belongs to another session",
            id="the session before goes on",
        ),
    ],
)
def test_an_annotation_that_cannot_be_believed_is_refused(path: Path, lines: list[Any], words: str) -> None:
    good = recorded.lines_of([*COMMITS, [Annotation("undo", AT, "")]])
    data = b"".join([*good[: 44 + lines.count("annotation")], *(line for line in lines if line != "annotation")])
    path.write_bytes(data)
    for use in (read_log, Checkpoint.resume, lambda log: annotate(log, "undo", BEGUN, AT)):
        with pytest.raises(NotAcceptable, match=words):
            use(log_at(path))
    with pytest.raises(second_reader.Refused):
        second_reader.read(path)
    assert path.read_bytes() == data


def test_an_annotation_does_not_cover_what_no_session_wrote(path: Path) -> None:
    """Its hash covers the line, but not even that makes an outcome after the last stop one of a session."""
    stopped: list[list[Entry]] = [*COMMITS, [Outcome(AT, 1, "done", ((380, 390),))], [Annotation("undo", AT, "")]]
    path.write_bytes(b"".join(recorded.lines_of(stopped)))
    fault = audit(log_at(path)).fault
    assert fault is not None
    assert "line 45 holds an entry (outcome) that no session wrote" in fault


def test_killed_at_every_call_it_is_written_or_not_and_the_same_again_goes_through(tmp_path: Path) -> None:
    """One log for each call that changes it, and each half write: the child forks a process that dies there."""
    command = [sys.executable, "-m", "tests.checkpoint_child", "annotate", str(tmp_path)]
    torn = tmp_path / "torn"
    torn.write_bytes(WHOLE + b'{"seq":45')
    subprocess.run(command, cwd=ROOT, check=True, timeout=WAIT_MAX_S)
    logs = sorted(tmp_path.glob("log-*.jsonl"))
    assert len(logs) == 2 * ANNOTATION_CALLS
    written = 0
    for log in logs:
        data = log.read_bytes()
        assert data.startswith(WHOLE)
        found = annotations_of(log)
        assert found in ([], [("undo", "begun")])
        written += bool(found)
        audited = audit(log_at(log))
        assert (audited.fault is None) or data == torn.read_bytes()  # that is the torn tail of a session
        annotate(log_at(log), "undo", BEGUN, AT)
        assert annotations_of(log) == [*found, ("undo", "begun")]
        agreed(log)
    assert 0 < written < len(logs)


def test_a_disk_that_fails_is_a_failure_of_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with annotating(log_at(path)) as log:
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(FileFailed, match=r"No space left on device\. Make room .* same command again"):
            log.add("undo", BEGUN, AT)
        assert log.progress.annotations == ()
    with pytest.raises(FileFailed, match="No space left on device"):
        annotate(log_at(path), "undo", BEGUN, AT)


def test_status_and_audit_show_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = recorded.header(400)
    header = replace(header, pinned={**header.pinned, "job": "j", "host": "h", "id_type": "t", "sha256": "0"})
    path.write_bytes(b"".join(recorded.lines_of([[header], *COMMITS[1:]])))
    annotate(log_at(path), "undo", BEGUN, AT)
    print_status(path.parent, json=False, environ={})
    assert f"  undo       restore begun on {AT} by u on m, see r.jsonl\n" in capsys.readouterr().out
    annotate(log_at(path), "undo", ENDED, AT)
    annotate(log_at(path), "forget", {**BY, "state": "ended", "removed": 3, "bytes": 4096}, AT)
    annotate(log_at(path), "forget", {}, AT)  # what a later version may leave out
    print_status(path.parent, json=False, environ={})
    told = capsys.readouterr().out
    assert f"  undo       restored on {AT} by u on m: 9,998 of 10,000 rows, 0 remaining, see r.jsonl\n" in told
    assert f"  forget     files removed on {AT} by u on m: 3 of 4,096 bytes\n" in told
    assert f"  forget     removal of files begun on {AT} by ?\n  to end it: bulkdel forget {path.parent}\n" in told
    assert "restore begun" not in told
    print_audit(path.parent, json=False)
    told = capsys.readouterr().out
    assert f"annotation, line 45: restore begun on {AT} by u on m, see r.jsonl\n" in told
    assert "annotation, line 48: removal of files begun" in told
    assert "audit: 1 session, 48 commits" in told
    for show in (partial(print_status, environ={}), print_audit):
        show(path.parent, json=True)
        values = json.loads(capsys.readouterr().out)["annotations"]
        assert [(value["event"], value.get("state")) for value in values] == [
            ("undo", "begun"),
            ("undo", "ended"),
            ("forget", "ended"),
            ("forget", None),
        ]
        assert values[1]["restored"] == 9_998


def test_a_torn_annotation_after_the_last_stop_is_no_fault_and_other_bytes_are(path: Path) -> None:
    line = recorded.lines_of([*COMMITS, [Annotation("undo", AT, "", BEGUN)]])[-1]
    for length in range(1, len(line)):
        path.write_bytes(WHOLE + line[:length])
        found = audit(log_at(path))
        assert (found.fault, found.damaged_tail) == (None, length)
    for tail in (b"x", b'{"seq":45,"entries":[{"type":"outcome"'):
        path.write_bytes(WHOLE + tail)
        assert "bytes that no session wrote" in str(audit(log_at(path)).fault)
