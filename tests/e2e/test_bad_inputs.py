"""Every kind of bad input through the real command: exit code, message, and zero requests at the server."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples import one_in
from tests.harness import POOL, bulkdel, environment, finish, names_in, run_on, sandbox, start, user_ids
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(300)
A, B = IDS[0], IDS[1]
MIB = 1 << 20


def lines(*rows: str) -> bytes:
    return "".join(row + "\n" for row in rows).encode()


def jsonl(*ids: str) -> bytes:
    return lines(*(f'{{"id":"{id_}"}}' for id_ in ids))


@dataclass(frozen=True)
class Bad:
    """Refused: exit 3, these words in the message, no request."""

    name: str
    data: bytes
    says: tuple[str, ...]
    options: tuple[object, ...] = ()


BOMB = gzip.compress(lines(f'{{"id":"{A}","x":"{"0" * 100_000}"}}') * 1_000, 9)

REFUSED = [
    Bad("1-empty.jsonl", b"", ("no ids",)),
    Bad("1-header-only.csv", b"id,name\n", ("no ids",)),
    Bad("3-utf16-cut.csv", f"id\n{A}\n".encode("utf-16") + b"\x00", ("line 3", "not utf-16")),
    Bad("3-utf16.csv", f"id\n{A}\n".encode("utf-16-le"), ("UTF-16",)),
    Bad("4-not-utf8.csv", b"id,name\n" + A.encode() + b",\xff\xfe\n", ("line 2", "UTF-8")),
    Bad("4-nul.jsonl", lines(f'{{"id":"{A}"}}', '{"id":"ab\\u0000c"}'), ("line 2",)),
    Bad("4-control.jsonl", lines('{"id":"ab\\u0007c"}'), ("line 1", "control"), ("--id-type", "username")),
    Bad("6-unclosed.csv", lines("id,name", f'{A},"never closed'), ("line 2",)),
    Bad("6-quote-then-text.csv", lines("id,name", f'"{A}"b,x'), ("line 2",)),
    Bad("7-newline-in-id.csv", lines("id,name", '"ab\ncd",x'), ("line 2", "newline"), ("--id-type", "username")),
    Bad("8-long-line.jsonl", b'{"id":"' + b"a" * (2 * MIB) + b'"}\n', ("1 MiB",), ("--id-type", "username")),
    Bad("8-long-field.csv", b'id\n"' + b"a" * (2 * MIB) + b'"\n', ("1 MiB",), ("--id-type", "username")),
    Bad("9-unclear.csv", lines("a;id,b", "1;2,3"), ("a;id",), ("--id-type", "username")),
    Bad("10-no-column.csv", lines("name,mail", "x,y"), ("name", "mail", "--id-field")),
    Bad("10-two-candidates.csv", lines("id,user_id", f"{A},{B}"), ("id", "user_id", "--id-field")),
    Bad("10-two-candidates.jsonl", lines(f'{{"id":"{A}","userId":"{B}"}}'), ("userId", "--id-field")),
    Bad("10-header-twice.csv", lines("id,id", f"{A},{B}"), ("id",)),
    Bad("10-no-such-field.csv", lines("id,name", f"{A},x"), ("nope", "name"), ("--id-field", "nope")),
    Bad("11-ragged.csv", lines("id,name", f"{A},x", f"{B}"), ("line 3",)),
    Bad("12-big-integer.jsonl", lines('{"id":18446744073709551616}'), ("line 1",), ("--id-type", "external_id")),
    Bad("12-float.jsonl", lines('{"id":1.5}'), ("line 1",), ("--id-type", "external_id")),
    Bad("12-true.jsonl", lines('{"id":true}'), ("line 1",), ("--id-type", "external_id")),
    Bad("12-null.jsonl", lines('{"id":null}'), ("line 1",), ("--id-type", "external_id")),
    Bad("12-object.jsonl", lines('{"id":{"a":1}}'), ("line 1",), ("--id-type", "external_id")),
    Bad("13-spreadsheet.csv", lines("id", A, "7.3928E+23"), ("line 3", "7.3928E+23", "spreadsheet")),
    Bad("13-spreadsheet-phone.csv", lines("id", "8.61E+12"), ("line 2", "spreadsheet"), ("--id-type", "phone")),
    Bad("14-emails.jsonl", jsonl(A, "zoe@example.com"), ("line 2", "zoe@example.com", "looks like email")),
    Bad("14-upper-case.jsonl", jsonl(A.upper()), ("line 1", "--id-pattern")),
    Bad("15-spaces.jsonl", jsonl(A, f" {B}"), ("line 2", "--trim")),
    Bad("15-empty.jsonl", jsonl(A, ""), ("line 2",)),
    Bad("16-torn.jsonl", jsonl(A) + b'{"id":"63', ("line 2",)),
    Bad("18-truncated.jsonl.gz", gzip.compress(jsonl(*IDS))[:-20], ("truncated",)),
    Bad("18-rubbish.jsonl.gz", gzip.compress(jsonl(*IDS)) + b"rubbish", ("after the end",)),
    Bad("20-bomb.jsonl.gz", BOMB, ("times",)),
    Bad("23-log.jsonl", b'{"seq":1,"entries":[],"crc":"00000000"}\n', ("a log of bulkdel",)),
    Bad("23-results.jsonl", lines(f'{{"id":"{A}","outcome":"deleted"}}'), ("line 1", "outcome")),
    Bad("23-results.csv", lines("id,outcome", f"{A},deleted"), ("line 2", "outcome")),
]


@mutant(
    "a number with a fraction is an id",
    "id_of_value",
    swap("isinstance(value, int)", "isinstance(value, int | float)"),
    case="12-float.jsonl",
)
@pytest.mark.parametrize("bad", one_in(3, REFUSED), ids=lambda bad: bad.name)
def test_refused(bad: Bad, tmp_path: Path) -> None:
    """Exit 3 before any request, naming the file, where, and why."""
    export = tmp_path / bad.name
    export.write_bytes(bad.data)
    with sandbox(IDS) as served:
        ran = run_on(export, served, *bad.options, ids=1)
        assert ran.code == 3, (ran.err, ran.out)
        assert bad.name in ran.err
        for words in bad.says:
            assert words in ran.err, ran.err
        assert served.ledger.requests == 0
    assert len(ran.err) < 2_000, "a message, not a dump"
    assert sorted(path.name for path in tmp_path.iterdir()) == [bad.name], "nothing is left behind"


def test_crc_wrong(tmp_path: Path) -> None:
    """Row 18: the data comes out before the error; nothing may have been sent by then."""
    packed = bytearray(gzip.compress(jsonl(*IDS)))
    packed[-6] ^= 1
    export = tmp_path / "crc.jsonl.gz"
    export.write_bytes(packed)
    with sandbox(IDS) as served:
        ran = run_on(export, served, ids=1)
        assert ran.code == 3, ran.err
        assert served.ledger.requests == 0


ACCEPTED: dict[str, tuple[bytes, tuple[object, ...]]] = {
    "2-bom.jsonl": (b"\xef\xbb\xbf" + jsonl(*IDS), ()),
    "3-utf16-bom.csv": (lines("id\tname", *(f"{id_}\tü" for id_ in IDS)).decode().encode("utf-16"), ()),
    "2-bom.csv": (b"\xef\xbb\xbf" + lines("id,name", *(f"{id_},x" for id_ in IDS)), ()),
    "5-crlf.jsonl": (jsonl(*IDS).replace(b"\n", b"\r\n"), ()),
    "5-crlf.csv": (lines("id,name", *(f"{id_},x" for id_ in IDS)).replace(b"\n", b"\r\n"), ()),
    "7-newline-elsewhere.csv": (lines("id,note", *(f'{id_},"two\nlines"' for id_ in IDS)), ()),
    "9-semicolon.csv": (lines("id;name", *(f"{id_};x" for id_ in IDS)), ()),
    "9-tab.csv": (lines("id\tname", *(f"{id_}\tx" for id_ in IDS)), ()),
    "15-trimmed.jsonl": (jsonl(*(f"  {id_} " for id_ in IDS)), ("--trim",)),
    "17-no-final-newline.jsonl": (jsonl(*IDS)[:-1], ()),
    "19-members.jsonl.gz": (gzip.compress(jsonl(*IDS[:150])) + gzip.compress(jsonl(*IDS[150:])), ()),
}


@pytest.mark.parametrize("name", one_in(3, ACCEPTED))
def test_accepted(name: str, tmp_path: Path) -> None:
    """Every id is deleted once, and the server has seen it without spaces, BOM or line ends."""
    data, options = ACCEPTED[name]
    export = tmp_path / name
    export.write_bytes(data)
    with sandbox(IDS) as served:
        ran = run_on(export, served, *options, ids=len(IDS))
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS)}
        assert served.ledger.sent_times() == {1: len(IDS)}
        assert len(served.pool) == 0


def test_integers_digit_for_digit(tmp_path: Path) -> None:
    """Row 12: integers of the 64-bit range."""
    ids = ["0", "9007199254740993", "18446744073709551615", "-9223372036854775808"]
    export = tmp_path / "integers.jsonl"
    export.write_bytes(lines(*(f'{{"id":{id_}}}' for id_ in ids)))
    with sandbox(ids, "external_id") as served:
        ran = run_on(export, served, "--id-type", "external_id", ids=4)
        assert ran.code == 0, ran.err
        assert len(served.pool) == 0


def test_spreadsheet_in_free_text_warns(tmp_path: Path) -> None:
    """Row 13: a free-text type takes it, and the plan says how many and shows one."""
    export = tmp_path / "externals.csv"
    export.write_bytes(lines("id", "7.3928E+23", "73928e05", "1001"))
    ran = bulkdel("plan", "delete-users", export, "--id-type", "external_id", env={})
    assert ran.code == 0, ran.err
    assert "2 ids look like a spreadsheet rewrote them" in ran.out
    assert "7.3928E+23" in ran.out


def test_id_pattern_for_private_deployments(tmp_path: Path) -> None:
    """Row 14: another shape, on the user's word."""
    ids = [f"U-{i:06}" for i in range(100)]
    export = tmp_path / "private.jsonl"
    export.write_bytes(jsonl(*ids))
    with sandbox(ids) as served:
        refused = run_on(export, served, ids=100)
        assert (refused.code, served.ledger.requests) == (3, 0)
        assert "Then give it with --id-pattern. Otherwise correct the file." in refused.err
        ran = run_on(export, served, "--id-pattern", r"U-\d{6}", ids=100)
        assert ran.code == 0, ran.err
        assert served.pool.deleted == 100


def test_a_column_that_fits_is_advised_and_no_other_shape(tmp_path: Path) -> None:
    export = tmp_path / "crm.csv"
    export.write_bytes(lines("name,mail", *(f"Ann {i},ann{i}@example.com" for i in range(20))))
    with sandbox([]) as served:
        refused = run_on(export, served, "--id-field", "name", "--id-type", "email", ids=20)
        assert (refused.code, "all 20 rows are bad. Nothing was sent." in refused.err) == (3, True), refused
        assert "To read it with --id-field mail --id-type email:" in refused.err
        assert ("--id-pattern" in refused.err, "orrect the file" in refused.err) == (False, False), refused


def test_skip_writes_a_file_to_feed_back(tmp_path: Path) -> None:
    """--skip-invalid: the bad rows as they stood, the rest deleted; repaired, they can be run."""
    export = tmp_path / "mixed.csv"
    export.write_bytes(lines("name,id", f"a,{A}", "b,oops", f'"c, d", {B}', f"e,{IDS[2]}"))
    with sandbox(IDS) as served:
        ran = run_on(export, served, "--skip-invalid", "10", ids=2)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 2, "invalid": 2}
        left = log_of(export).with_name("invalid")
        assert left.read_bytes() == lines("name,id", "b,oops", f'"c, d", {B}')
        assert left.stat().st_mode & 0o777 == 0o600
        mended = tmp_path / "mended.csv"
        mended.write_bytes(left.read_bytes().replace(b"oops", IDS[3].encode()).replace(b" " + B.encode(), B.encode()))
        assert run_on(mended, served, ids=2).counts() == {"deleted": 2}
        assert served.pool.deleted == 4


def test_duplicates(tmp_path: Path) -> None:
    """Row 21: sent once, counted; emails without case."""
    export = tmp_path / "twice.jsonl"
    export.write_bytes(jsonl(*IDS, *IDS[:20]))
    with sandbox(IDS, duplicates_in_chunk="refuse") as served:
        ran = run_on(export, served, ids=300)
        assert ran.counts() == {"deleted": 300, "duplicate": 20}
        assert served.ledger.sent_times() == {1: 300}
    emails = [f"u{i}@example.com" for i in range(100)]
    export = tmp_path / "emails.jsonl"
    export.write_bytes(jsonl(*emails, *(email.upper() for email in emails[:7])))
    with sandbox(emails, "email", duplicates_in_chunk="refuse") as served:
        ran = run_on(export, served, "--id-type", "email", ids=100)
        assert ran.counts() == {"deleted": 100, "duplicate": 7}


def test_not_a_file(tmp_path: Path) -> None:
    """Row 24: a directory, a device, no permission, a dangling link, nothing there."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with sandbox(IDS) as served:
        for path in (tmp_path, Path("/dev/null"), Path("/dev/zero"), tmp_path / "link", tmp_path / "missing"):
            ran = run_on(path, served, "--run", tmp_path / "run", ids=1)
            assert ran.code == 3, (path, ran.err)
            assert str(path) in ran.err
        assert served.ledger.requests == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as a user that may not read")
def test_no_permission(tmp_path: Path) -> None:
    """Row 24: run as nobody."""
    export = tmp_path / "secret.jsonl"
    export.write_bytes(jsonl(A))
    export.chmod(0o600)
    fine = tmp_path / "fine.jsonl"
    fine.write_bytes(jsonl(A))
    # `nobody` may not even read the checkout, so root gives up its rights after a run that has imported everything.
    script = (
        "import os, sys; from bulkdel.cli.main import main; plan = ['plan', 'delete-users']; "
        "assert main([*plan, sys.argv[1]]) == 0; os.setuid(65534); sys.exit(main([*plan, *sys.argv[2:]]))"
    )
    place = f"{tempfile.gettempdir()}/{tmp_path.name}.run"  # where it may write; nothing is written
    done = subprocess.run(
        [sys.executable, "-c", script, str(fine), str(export), "--run", place],
        env=environment({}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert b"secret.jsonl" in done.stderr
    assert b"ermission" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as a user that may not read")
def test_a_place_that_another_user_has_closed() -> None:
    """It is refused with its name, by a plan and by what reads a run that was restored."""
    script = (  # as above
        "import os, sys; from bulkdel.cli.main import main; words = sys.argv[1:]; main(words); os.setuid(65534); "
        "sys.exit(main(words))"
    )
    with tempfile.TemporaryDirectory() as name, sandbox(IDS) as served:
        folder = Path(name)
        (export := folder / "a.jsonl").write_bytes(jsonl(A))
        run, closed = folder / "run", folder / "closed"
        assert run_on(export, served, "--run", run, ids=1).code == 0
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for each in (closed, run / "restore-1"):
            each.mkdir(mode=0o700)
        for words, code, says in (
            (["plan", "delete-users", export, "--run", closed / "x"], 2, f"{closed}/x: cannot be looked into: Perm"),
            (["forget", run], 3, f"{run}/restore-1: cannot be read: Permission denied. Nothing was removed"),
        ):
            line = [sys.executable, "-c", script, *map(str, words)]
            done = subprocess.run(line, env=environment({}), capture_output=True, check=False)
            assert (done.returncode, says in done.stderr.decode()) == (code, True), done.stderr


def test_standard_input(tmp_path: Path) -> None:
    """A pipe is copied into the place of the run (0600), named, and needs --run."""
    with sandbox(IDS) as served:
        args = (
            "run",
            "delete-users",
            "-",
            "--host",
            served.url,
            "--rate",
            0,
            "--json",
            "--confirm",
            300,
            "--pool",
            POOL,
        )
        ran = bulkdel(*args, input=jsonl(*IDS))
        assert ran.code == 2
        assert "--run" in ran.err
        assert served.ledger.requests == 0
        place = tmp_path / "run"
        ran = bulkdel(*args, "--run", place, input=jsonl(*IDS))
        assert ran.code == 0, ran.err
        assert served.pool.deleted == 300
    assert names_in(place) == ["log.jsonl"]


def test_fifo(tmp_path: Path) -> None:
    """A named pipe is a pipe too."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with sandbox(IDS) as served:
        process = start(
            *("run", "delete-users", fifo, "--host", served.url, "--rate", 0, "--json"),
            *("--confirm", 300, "--pool", POOL),
        )
        fifo.write_bytes(jsonl(*IDS))
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert served.pool.deleted == 300


def test_bomb_stays_small(tmp_path: Path) -> None:
    """Row 20: stopped early, in seconds; the memory bound is in the source's own tests."""
    export = tmp_path / "bomb.jsonl.gz"
    export.write_bytes(gzip.compress(jsonl(A) * 1 + b" " * (128 * MIB), 9))
    began = time.monotonic()
    ran = bulkdel("plan", "delete-users", export, env={})
    assert ran.code == 3, ran.err
    assert time.monotonic() - began < WAIT_MAX_S / 5


def test_nothing_to_delete(tmp_path: Path) -> None:
    """Row 25: every id is excluded; nothing to do, exit 0, and it says so."""
    export = tmp_path / "all-kept.jsonl"
    export.write_bytes(jsonl(A, "oops", B))
    keep = tmp_path / "keep.jsonl"
    keep.write_bytes(jsonl(A, B))
    with sandbox(IDS) as served:
        ran = run_on(export, served, "--skip-invalid", "10", "--exclude", keep, ids=0)
        assert ran.code == 0, ran.err
        assert "nothing to delete" in ran.err
        assert ran.counts() == {"excluded": 2, "invalid": 1}
        assert served.ledger.requests == 0
