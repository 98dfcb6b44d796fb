"""`bulkdel results` against the server's own books, and what was refused on its way round: out, and in again."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
import random
import resource
import subprocess
from collections import Counter
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bulkdel.commands.results import kinds_of, write_rows
from bulkdel.core.log_entries import Outcome
from bulkdel.errors import NotAcceptable
from bulkdel.export.reopen import Reopened
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    POOL,
    Case,
    bulkdel,
    case,
    entries,
    environment,
    kill,
    user_ids,
    write_objects,
)
from tests.inputs import input_file
from tests.madeup import make_run
from tests.mutants import mutant
from tests.places import log_of
from tests.recorded import encode_line, nonce_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(9_900)
BAD_ROWS = ('{"id":"nobody\'s business"}', '{"id":""}', "{}")


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def small(folder: Path, **switches: Any) -> Any:
    """300 rows, three of them refused, all settled."""
    return case(folder, IDS[:300], poisonous=dict.fromkeys(IDS[:3], (409, 7)), **switches)


def test_ten_thousand_rows_agree_with_the_server(tmp_path: Path) -> None:
    """Killed on the way and continued; unknown, poisonous, repeated and bad rows; in both forms, and filtered."""
    rng = random.Random(5)
    picked = rng.sample(IDS, 506)
    unknown, poisonous = set(picked[:500]), set(picked[500:])
    repeated = rng.sample(IDS, 97)
    texts = [json.dumps({"id": id_}) for id_ in [*IDS, *repeated]]
    for text in BAD_ROWS:
        texts.insert(rng.randrange(9_000), text)
    assert len(texts) == 10_000
    users = [id_ for id_ in IDS if id_ not in unknown]
    switches: dict[str, Any] = {
        "unknown_ids": "refuse",
        "poisonous": dict.fromkeys(poisonous, (409, 77)),
        "latency_after_s": 0.3,
        "fault_paths": DELETIONS,
    }
    with case(tmp_path, IDS, users=users, options=["--rate", 0, "--skip-invalid", "10"], **switches) as it:
        it.export.write_text("".join(text + "\n" for text in texts))
        process = it.start()
        it.wait_until_deleted(1_000)
        kill(process)
        it.switch(latency_after_s=0.0)
        halfway = rows_of(bulkdel("results", it.log, env={}).out)
        assert len(halfway) == 10_000
        ran = it.run()
        assert ran.code == 1, ran.err
        told = bulkdel("results", it.log, env={})
        assert told.code == 0, told.err
        found, seen = rows_of(told.out), set[str]()
        for position, (row, text) in enumerate(zip(found, texts, strict=True)):
            assert (row["position"], row["line"]) == (position, position + 1)
            if text in BAD_ROWS:
                assert row == {"position": position, "line": position + 1, "id": None, **_bad(row)}
                continue
            id_ = json.loads(text)["id"]
            assert row["id"] == id_
            expected = "deleted"
            if id_ in seen:
                expected = "duplicate"
            elif id_ in unknown:
                expected = "absent"
            elif id_ in poisonous:
                expected = "refused"
            if expected == "absent" and halfway[position].get("reason") == "in doubt":
                expected = row["outcome"]  # one that was not there and is in doubt counts as deleted: nothing can tell
            assert row["outcome"] == expected, row
            assert it.served.ledger.effects(id_) == (id_ not in unknown | poisonous)
            seen.add(id_)
        assert Counter(row["outcome"] for row in found) == {k: v for k, v in ran.counts().items() if v}
        named = {e["id"]: e for entry in entries(it.log) for e in entry.get("exceptions", ())}
        for row in found:
            if row["outcome"] == "refused":
                assert (row["statusCode"], row["apiCode"]) == (409, 77)
                assert (row["message"], row["requestId"]) == (
                    named[row["id"]]["message"],
                    named[row["id"]]["request_id"],
                )
            assert ("at" in row) == (row["outcome"] in {"deleted", "absent", "refused"})
        assert told.err == f"results: 10,000 rows: {_words(ran.counts())}\n"
    table = list(csv.DictReader(io.StringIO(bulkdel("results", it.log, "--format", "csv", env={}).out), strict=True))
    assert [{k: v for k, v in row.items() if v} for row in table] == [
        {k: str(v) for k, v in row.items() if v is not None} for row in found
    ]
    some = rows_of(bulkdel("results", it.log, "--only", "absent, duplicate", env={}).out)
    assert some == [row for row in found if row["outcome"] in {"absent", "duplicate"}]
    assert bulkdel("status", "--audit", it.log, env={}).code == 0


def _bad(row: dict[str, Any]) -> dict[str, Any]:
    assert "business" not in row["reason"]
    return {"outcome": "invalid", "reason": row["reason"]}


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


ODD = ["+8613800000000", "=1+1", "-5", "@x", "'quoted", "''twice", 'a"b,c', "＝2", "a;=b", "ümlaut"]  # noqa: RUF001


@mutant(
    "an id fed back with its mark on",
    "_CsvReader._id",
    swap("unmarked(id_)", "unmarked(MARK + id_)"),
)
@pytest.mark.parametrize("name", one_in(3, ["again.jsonl", "again.csv", "again.csv.gz", "again.xlsx", "again.parquet"]))
def test_what_was_refused_can_be_fed_back(name: str, tmp_path: Path) -> None:
    """Every id reaches the server again as it was, and nothing else does."""
    plain = [f"plain{i}" for i in range(60)]
    # An accepted id follows each refused one: many refusals in a row would halt the run.
    ids = [*chain.from_iterable(zip(ODD, plain, strict=False)), *plain[len(ODD) :]]
    with case(tmp_path, ids, id_type="external_id", poisonous=dict.fromkeys(ODD, (409, None))) as it:
        it.options += ["--id-type", "external_id"]
        ran = it.run()
        assert ran.counts() == {"deleted": 60, "refused": len(ODD)}, ran.err
        again = tmp_path / name
        told = bulkdel("results", it.log, "--only", "refused,unknown", "--out", again, env={})
        assert told.code == 0, told.err
        assert again.stat().st_mode & 0o777 == 0o600
        if name.endswith("csv"):
            cells = list(csv.reader(io.StringIO(again.read_text())))
            assert not any(cell.startswith(tuple("=+-@＝")) for row in cells for cell in row)  # noqa: RUF001
        it.switch(poisonous={})
        ran = bulkdel(
            *("run", "delete-users", again, "--host", it.served.url, "--rate", 0, "--json", "--id-type", "external_id"),
            *("--confirm", len(ODD), "--pool", POOL),
        )
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ODD)}
        effects = {id_: it.served.ledger.effects(id_, "external_id") for id_ in ids}
        assert effects == dict.fromkeys(ids, 1)


def test_a_marked_id_without_our_columns_is_refused(tmp_path: Path) -> None:
    """Without our columns it is open whether the mark belongs to the id."""
    cut = tmp_path / "cut.csv"
    cut.write_text("id,outcome\n'+8613,refused\n")
    ran = bulkdel("plan", "delete-users", cut, "--id-type", "external_id", env={})
    assert ran.code == 3
    assert "line 2" in ran.err
    assert "Feed its CSV back with all its columns" in ran.err
    cut.write_text("id\n'+8613\n")  # no results at all: an id that begins so
    assert bulkdel("plan", "delete-users", cut, "--id-type", "external_id", env={}).code == 0


def test_the_rest_is_not_fed_back(tmp_path: Path) -> None:
    with small(tmp_path) as it:
        it.run()
        for form in ("jsonl", "csv"):
            whole = tmp_path / f"all.{form}"
            bulkdel("results", it.log, "--only", "deleted", "--out", whole, env={})
            ran = bulkdel("plan", "delete-users", whole, env={})
            assert ran.code == 3
            assert "--only refused,unknown" in ran.err


def test_hashed(tmp_path: Path) -> None:
    """One key, one hash for one account however it is written; no id, no message, nothing that can be fed back."""
    emails = ["Ann@Example.com", *(f"u{i}@example.com" for i in range(20)), "ann@example.COM"]
    key = tmp_path / "key"
    key.write_bytes(b"sixteen bytes or more\n")
    key.chmod(0o600)
    with case(tmp_path, emails[:-1], id_type="email", poisonous={emails[3]: (409, None)}) as it:
        write_objects(it.export, [*emails, "no address"])
        it.options += ["--id-type", "email", "--skip-invalid", "10"]
        assert it.run().code == 1
        told = bulkdel("results", it.log, "--hash-ids", key, env={})
        found = rows_of(told.out)
        expected = hmac.new(b"sixteen bytes or more", b"email\0ann@example.com", hashlib.sha256).hexdigest()
        assert found[0]["idHash"] == expected
        assert found[21] == {"position": 21, "line": 22, "idHash": expected, "outcome": "duplicate"}
        assert found[22]["idHash"] is None
        assert found[22]["outcome"] == "invalid"
        assert len({row["idHash"] for row in found}) == 22
        assert found[3]["outcome"] == "refused"
        assert found[3]["statusCode"] == 409
        for form in ("jsonl", "csv"):
            out = tmp_path / f"shared.{form}"
            assert bulkdel("results", it.log, "--hash-ids", key, "--out", out, env={}).code == 0
            text = out.read_text()
            text = text.replace("an address like name@example.com", "")
            assert "@" not in text
            assert "no address" not in text
            assert 'message":' not in text
            assert emails[3] in bulkdel("results", it.log, env={}).out
        out.unlink()
        refused = bulkdel("results", it.log, "--hash-ids", key, "--only", "refused", "--out", out, env={})
        assert refused.code == 0
        assert bulkdel("plan", "delete-users", out, "--id-type", "email", env={}).code == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "No such file or directory. To make one: (umask 077; head -c 32 /dev/urandom > "),
        (lambda path: path.write_bytes(b"short\n"), "fewer than 16 bytes"),
        (lambda path: path.write_bytes(b"\n" * 99), "fewer than 16 bytes"),
        (lambda path: path.write_bytes(b"x" * 70_000), "over 64 KiB"),
        (lambda path: (path.write_bytes(b"x" * 99), path.chmod(0o640)), "chmod 600"),
        (lambda path: path.mkdir(0o700), "Is a directory"),
        (lambda path: path.symlink_to("/dev/null"), "others can read"),
    ],
    ids=["missing", "short", "empty", "large", "readable", "folder", "device"],
)
def test_a_key_that_is_none(make: Any, words: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    old = os.umask(0o077)
    try:
        make(key)
    finally:
        os.umask(old)
    place = tmp_path / "night"
    place.mkdir()
    (place / "log.jsonl").touch()
    ran = bulkdel("results", place, "--hash-ids", key, env={})
    assert ran.code == 2
    assert words in ran.err


def test_in_doubt_and_remaining(tmp_path: Path) -> None:
    """While a run is under way, and after it was killed: what was sent without an answer is said to be."""
    with case(tmp_path, IDS, latency_s=0.2, options=["--rate", 0, "--concurrency", 4]) as it:
        process = it.start()
        it.wait_until_deleted(400)
        running = bulkdel("results", it.log, env={})
        assert running.code == 0, running.err
        assert len(running.out.splitlines()) == 9_900
        kill(process)
        with it.log.open("ab") as log:
            log.write(b'{"seq":')
        status = json.loads(bulkdel("status", "--json", it.log, env={}).out)
        found = rows_of(bulkdel("results", it.log, env={}).out)
        assert Counter(row["outcome"] for row in found) == {
            name: status[name] for name in ("deleted", "remaining") if status[name]
        }
        doubtful = [row for row in found if row.get("reason") == "in doubt"]
        assert {row["outcome"] for row in doubtful} == {"remaining"}
        assert len(doubtful) == status["in_doubt"] > 0


@mutant(
    "the SHA-256 of a file that only a log names is shown",
    "read_anew",
    swap(
        'f"{opened.path}: is not the export of this run: its SHA-256 is not {wanted}, which the run read. {MOVED}"',
        "f\"is not the export of this run: {__import__('hashlib').sha256(opened.read_at(0, 1 << 20)).hexdigest()}\"",
    ),
)
def test_an_export_that_is_not_there_any_more(tmp_path: Path) -> None:
    """It is not read. One that is named is compared."""
    with small(tmp_path) as it:
        it.run()
    before = bulkdel("results", it.log, env={}).out
    data = it.export.read_bytes()
    moved = it.export.rename(tmp_path / "moved")
    assert bulkdel("results", it.log, env={}).out == before
    it.export.write_bytes(data.replace(b"0", b"1", 1))
    assert bulkdel("results", it.log, env={}).out == before
    assert bulkdel("results", it.log, "--export", moved, env={}).out == before
    ran = bulkdel("results", it.log, "--export", it.export, env={})
    assert ran.code == 3
    assert "is not the export of this run" in ran.err
    assert hashlib.sha256(it.export.read_bytes()).hexdigest() not in ran.err, "a log may name any file"
    assert "--export PATH" in ran.err
    assert ran.out == ""


def test_of_a_pipe(tmp_path: Path) -> None:
    """The copy that the run made is found without being named."""
    data = write_objects(tmp_path / "e", IDS[:60]).read_bytes()
    place = tmp_path / "run"
    ran = bulkdel("run", "delete-users", "-", "--sandbox", "--rate", 0, "--run", place, env={}, input=data)
    assert ran.code == 0, ran.err
    told = bulkdel("results", place, env={})
    assert [row["id"] for row in rows_of(told.out)] == IDS[:60], told.err
    ran = bulkdel("results", place, "--export", "/dev/stdin", env={}, input=data)
    assert ran.code == 2
    assert "Name a file" in ran.err


def test_of_a_table(tmp_path: Path) -> None:
    """CSV with rows of several lines: the line is that of the editor."""
    export = tmp_path / "e.csv"
    export.write_text(f'id,note\n{IDS[0]},"a\nb"\n{IDS[1]},c\n')
    assert bulkdel("run", "delete-users", export, "--sandbox", "--rate", 0, env={}).code == 0
    found = rows_of(bulkdel("results", log_of(export, sandbox=True), env={}).out)
    assert [(row["line"], row["id"]) for row in found] == [(2, IDS[0]), (4, IDS[1])]


@pytest.mark.parametrize("only", ["refused,gone", "", "Refused", "refused,"])
def test_an_outcome_that_there_is_not(only: str, tmp_path: Path) -> None:
    """The words are the job's, and the log says which job."""
    ran = bulkdel("results", make_run(tmp_path / "e", 10), "--only", only, env={})
    assert ran.code == 2
    assert "deleted, absent, refused, unknown, excluded, duplicate, invalid, remaining" in ran.err


def through_shell(it: Case, rest: str, *options: object) -> subprocess.CompletedProcess[bytes]:
    words = [*COMMAND, "results", str(it.log), *map(str, options)]
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {rest}', "bash", *words],
        env=environment({}),
        capture_output=True,
        check=False,
        timeout=WAIT_MAX_S,
    )


@mutant(
    "a report that is cut short is not told",
    "_write",
    swap(
        'raise FileFailed(f"stdout: {error.strerror}. The report is incomplete.") from error',
        'return\nraise FileFailed(f"stdout: {error.strerror}. The report is incomplete.") from error',
    ),
)
@pytest.mark.soak
def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    """A report that is cut short exits with an error, and --out then leaves no file."""
    with case(tmp_path, IDS[:5_000]) as it:
        assert it.run().code == 0
        assert bulkdel("results", it.log, env={"BULKDEL_FORMAT": "auto"}).code == 0, "meant for `run`"
        done = through_shell(it, "| head -n 1")
        assert done.returncode == 141
        assert done.stderr == b""
        assert json.loads(done.stdout)["position"] == 0
        done = through_shell(it, "> /dev/full")
        assert done.returncode == 5
        assert b"stdout: No space left on device" in done.stderr
        assert b"Traceback" not in done.stderr
        done = through_shell(it, ">&-")
        assert done.returncode == 5
        assert b"--out FILE" in done.stderr
        before = set(tmp_path.iterdir())

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

        ran = bulkdel("results", it.log, "--out", tmp_path / "out.csv", env={}, preexec_fn=limit)
        assert ran.code == 5
        assert "File too large" in ran.err
        assert set(tmp_path.iterdir()) == before
        assert bulkdel("results", it.log, "--out", tmp_path / "no" / "out", env={}).code == 5
        ran = bulkdel("results", it.log, "--out", it.export, env={})
        assert ran.code == 2
        assert "not overwritten" in ran.err
        assert set(tmp_path.iterdir()) == before


def test_a_log_of_other_rows(tmp_path: Path) -> None:
    """An entry that contradicts those before it is refused with its place, not a traceback."""
    with small(tmp_path) as it:
        it.run()
    lines = it.log.read_bytes().splitlines(keepends=True)
    twice = Outcome("2026-01-01T00:00:00.000Z", 1, "done", ((0, 5),))
    it.log.write_bytes(b"".join([*lines, encode_line(len(lines) + 1, [twice], nonce_of(lines))]))
    ran = bulkdel("results", it.log, env={})
    assert ran.code == 3
    assert f"line {len(lines) + 1} " in ran.err
    assert "settled twice" in ran.err


def test_rows_that_are_damaged_while_they_are_read(tmp_path: Path) -> None:
    log = make_run(tmp_path / "e", 100)
    written: list[bytes] = []
    with ExitStack() as stack:
        reopened = Reopened.open(log.parent, None, stack)
        every = kinds_of(None, reopened.job.words)
        assert sum(write_rows(reopened, every, written.append).values()) == 100
        assert len(b"".join(written).splitlines()) == 100
        rows = input_file(log)
        with rows.open("r+b") as file:
            file.write(b"1")
        with pytest.raises(NotAcceptable, match="rows 0 to 99 cannot be read"):
            write_rows(reopened, every, written.append)


def test_results_need_no_sign_in(tmp_path: Path) -> None:
    """Neither `results` nor the audit says a word to any server."""
    with small(tmp_path) as it:
        it.run()
        before = it.served.ledger.requests
        assert bulkdel("results", it.log).code == 0
        assert bulkdel("status", "--audit", it.log).code == 0
        assert it.served.ledger.requests == before
