"""The derived export of a restore: which records of which backups it holds, in which order, byte for byte."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.core.log_entries import Entry, Header, InputPins, Intent, Outcome, Saved, Session
from bulkdel.core.outcome import Kind
from bulkdel.engine.backup import Backup, copies_in, line_of
from bulkdel.engine.derived_export import Derived, backups_of, copies_of, write_derived
from bulkdel.engine.derived_memberships import write_map
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.file import fingerprint, open_export
from bulkdel.export.reopen import Reopened
from bulkdel.export.rows import Dialect
from bulkdel_jobs.genauth.endpoints import UserLookUps
from tests.harness import names_in, user_ids, write_objects
from tests.inputs import input_file, rows_of, write_input
from tests.mutants import mutant
from tests.recorded import AT, header, lines_of
from tests.syntax import swap

IDS = user_ids(40, seed=3)
NAMES = ["b.jsonl", "b.jsonl.gz", "b.jsonl.zst"]


def pinned_header(export: Path, rows: int, id_type: str, pins: InputPins) -> Header:
    """The header of a run over this export."""
    dialect = asdict(Dialect("jsonl", "none", id_field="id"))
    del dialect["guessed"]
    with open_export(str(export)) as opened:
        found = fingerprint(opened)
    source = {**dialect, "trim": False, "skip_invalid": False, "id_pattern": None}
    pinned: dict[str, Any] = {"job": "delete-users", "host": "h", "pool": "p", "id_type": id_type}
    pinned |= {"sha256": found.sha256, "bytes": found.size}
    return replace(header(rows), pinned={**pinned, "source": source}, export_path=str(export), input=pins)


def settled(kind: Kind, *rows: int) -> Outcome:
    return Outcome(AT, 1, kind, tuple((row, row + 1) for row in sorted(rows)))


class Past:
    """A run that is over: its export, its log, and the backups that its sessions wrote."""

    def __init__(self, folder: Path, ids: Sequence[str] = IDS, id_type: str = "user_id") -> None:
        self.folder, self.ids, self.id_type = folder, ids, id_type
        self.export = write_objects(folder / "export.jsonl", ids)
        self.log = folder / "log.jsonl"
        pins = write_input(self.log, [rows_of(list(ids))])
        self.commits: list[list[Entry]] = [[pinned_header(self.export, len(ids), id_type, pins)]]

    def session(self, backup: Path | None, saved: Saved | None, *outcomes: Outcome) -> None:
        """Add a session that settles rows."""
        facts = {"backup": None if backup is None else str(backup)}
        self.commits.append([Session("start", AT, "", facts)])
        for outcome in outcomes:
            self.commits += [[Intent(AT, outcome.ranges, saved)], [outcome]]
        self.commits.append([Session("stop", AT, "")])

    def write(self) -> None:
        self.log.write_bytes(b"".join(lines_of(self.commits)))

    def derive(self, *given: Path) -> tuple[Derived, list[bytes]]:
        """Derive; returns the counts and the lines."""
        self.write()
        to, missing = self.folder / "derived.jsonl", list[str]()
        with ExitStack() as stack:
            reopened = Reopened.open(self.log.parent, None, stack)
            backups = backups_of(reopened.log_index.progress, self.log.parent, given, missing.append)
            look_ups, accounts = UserLookUps(reopened.id_type), UserLookUps(reopened.job.id_types["user_id"])
            copies = (copies_in(*backup) for backup in backups)
            index = stack.enter_context(
                copies_of(copies, reopened.id_type, look_ups, accounts, on_progress=lambda _: None)
            )
            derived, _ = write_derived(reopened, index, to, lambda _: None)
        assert to.stat().st_mode & 0o777 == 0o600
        lines = to.read_bytes().splitlines(keepends=True)
        assert len(lines) == derived.rows
        return derived, lines


async def save(path: Path, *batches: Iterable[dict[str, Any]], durable: Saved | None = None) -> list[Saved]:
    """Write a backup as a run does, batch after batch; returns how much was durable after each."""
    backup = Backup.open(path, durable)
    try:
        return [await backup.save(map(line_of, batch)) for batch in batches]
    finally:
        backup.close()


def record(id_: str, **more: Any) -> dict[str, Any]:
    return {"userId": id_, **more}


def line(of: dict[str, Any]) -> bytes:
    return json.dumps(of, separators=(",", ":")).encode() + b"\n"


@mutant(
    "a restore brings back accounts that the run did not delete",
    "_done_ids",
    swap('result.kind == "done"', 'result.kind in {"done", "unknown", "refused"}'),
    case="b.jsonl",
)
@mutant(
    "of several copies of an account the first one comes back",
    "ADD_ACCOUNT",
    swap(
        '"INSERT INTO accounts VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET nth = ?2"',
        '"INSERT INTO accounts VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING"',
    ),
    case="b.jsonl",
)
@pytest.mark.parametrize("name", NAMES)
async def test_only_rows_that_were_done_in_the_order_of_the_export(name: str, tmp_path: Path) -> None:
    """The backup has another order, the rows other outcomes too, and one user has several copies."""
    past, backup = Past(tmp_path, IDS[:10]), tmp_path / name
    copies = [record(id_, n=n) for n, id_ in enumerate(IDS[:10])]
    again = record(IDS[4], n="again")
    saved = await save(backup, reversed(copies), [again])
    rest = (settled("absent", 1), settled("refused", 2), settled("already", 3), settled("unknown", 7))
    past.session(backup, saved[-1], settled("done", 8, 9), settled("done", 0, 4), *rest)
    derived, lines = past.derive()
    assert derived == Derived(done=4, missing=0, rows=4)
    assert lines == [line(copies[0]), line(again), line(copies[8]), line(copies[9])]


async def test_what_json_parsers_change_comes_through_byte_for_byte(tmp_path: Path) -> None:
    """A lone surrogate, a number of twenty digits, a float, a member twice, spaces: the line is copied."""
    past, backup = Past(tmp_path, IDS[:2]), tmp_path / "b.jsonl"
    texts = [
        b'{"userId": "%s", "n": 12345678901234567890123, "f": 1.10, "x": "\\ud800", "a": 1, "a": 2}' % IDS[0].encode(),
        b'{"userId":"%s","name":"\\ud83d\\ude00"}' % IDS[1].encode(),
    ]
    backup.write_bytes(b"".join(text + b"\n" for text in texts))
    data = backup.read_bytes()
    past.session(backup, Saved(len(data), zlib.crc32(data)), settled("done", 0, 1))
    assert past.derive()[1] == [text + b"\n" for text in texts]


MATCHES = [
    # One row of each: the id, the members of the record that it means, another record that it does not mean.
    ("email", "Ann@x.org", {"email": "ann@X.org"}, {"email": "ann@x.com"}),
    ("email", "e\u0301@x.org", {"email": "\u00e9@x.org"}, {"email": "e@x.org"}),
    ("phone", "+8613800000004", {"phone": "13800000004", "phoneCountryCode": "+86"}, {"phone": "13800000005"}),
    ("phone", "13800000004", {"phone": "13800000004", "phoneCountryCode": "+86"}, {"phone": "13800000005"}),
    ("phone", "+8613800000004", {"phone": "13800000004"}, {"phone": "13800000004", "phoneCountryCode": "+1"}),
    ("username", "Ann, jr.", {"username": "Ann, jr."}, {"username": "ann, jr."}),
    ("external_id", "7", {"externalId": "7"}, {"externalId": "07"}),
    (
        "identity",
        f"{IDS[0]}:u1",
        {"identities": [{"extIdpId": IDS[0], "userIdInIdp": "u1"}, {"extIdpId": IDS[1], "userIdInIdp": "u2"}]},
        {"identities": [{"extIdpId": IDS[1], "userIdInIdp": "u1"}]},
    ),
    (
        "sync_relation",
        "wechat:u1",
        {"identities": [{"provider": "wechat", "userIdInIdp": "u1"}]},
        {"identities": [{"provider": "ding", "userIdInIdp": "u1"}]},
    ),
]


@pytest.mark.parametrize(("id_type", "id_", "own", "other"), MATCHES)
async def test_the_job_decides_which_record_an_id_means(
    id_type: str, id_: str, own: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    past, backup = Past(tmp_path, [id_], id_type), tmp_path / "b.jsonl"
    saved = await save(backup, [record(IDS[1], **other), record(IDS[0], **own)])
    past.session(backup, saved[-1], settled("done", 0))
    assert past.derive() == (Derived(1, 0, 1), [line(record(IDS[0], **own))])


@mutant(
    "two rows of one account bring it back twice",
    "TAKE",
    swap(
        '"UPDATE accounts SET taken = 1 WHERE account = ? AND NOT taken"',
        '"UPDATE accounts SET taken = 1 WHERE account = ?"',
    ),
)
async def test_two_accounts_of_one_id_come_back_and_two_ids_of_one_account_bring_it_once(tmp_path: Path) -> None:
    past, backup = Past(tmp_path, ["a@x.org", "13800000004@x.org", "A@x.org"], "email"), tmp_path / "b.jsonl"
    two = [record(IDS[0], email="A@x.org"), record(IDS[1], email="a@x.org")]
    changed = [record(IDS[2], email="13800000004@x.org"), record(IDS[2], email="a@x.org", n=2)]
    saved = await save(backup, two, changed)
    past.session(backup, saved[-1], settled("done", 0, 1, 2))
    assert past.derive() == (Derived(3, 0, 3), [line(two[0]), line(two[1]), line(changed[1])])


async def test_all_backups_are_read_in_the_order_in_which_the_run_began_them(tmp_path: Path) -> None:
    past, first, second = Past(tmp_path, IDS[:6]), tmp_path / "z.jsonl.gz", tmp_path / "a.jsonl.zst"
    old = [record(id_, n=1) for id_ in IDS[:4]]
    new = [record(id_, n=2) for id_ in IDS[3:6]]
    one, two = (await save(first, old))[-1], (await save(second, new))[-1]
    past.session(first, one, settled("done", 0, 1))
    past.session(second, two, settled("done", 2, 3, 4))
    expected = Derived(5, 0, 5), [line(each) for each in (old[0], old[1], old[2], new[0], new[1])]
    assert past.derive() == expected
    # Moved and renamed: they are known by their bytes, in whatever order they are named.
    moved = [first.rename(tmp_path / "one"), second.rename(tmp_path / "two")]
    with pytest.raises(NotAcceptable, match=r"z\.jsonl\.gz: the backup cannot be opened.*--from-backup FILE"):
        past.derive()
    assert past.derive(*reversed(moved)) == expected
    with pytest.raises(NotAcceptable, match="has more than records of accounts in the backup"):
        past.derive(moved[0])
    (tmp_path / "derived.jsonl").unlink()
    derived, lines = past.derive(moved[0])
    assert derived == Derived(5, 1, 4)
    assert lines == [line(each) for each in old]
    with pytest.raises(NotAcceptable, match=r"export\.jsonl: is no backup of this run"):
        past.derive(*moved, past.export)


async def test_a_row_without_a_record_is_counted(tmp_path: Path) -> None:
    """Deleted before the run had a backup; and a record without the id by which the undo knows an account."""
    past, backup = Past(tmp_path, ["a", "b", "c"], "username"), tmp_path / "b.jsonl"
    saved = await save(backup, [record(IDS[1], username="b"), {"username": "c"}])
    past.session(None, None, settled("done", 0))
    past.session(backup, saved[-1], settled("done", 1, 2))
    assert past.derive() == (Derived(3, 2, 1), [line(record(IDS[1], username="b"))])


@pytest.mark.parametrize("name", NAMES)
async def test_a_backup_that_was_torn_gives_every_record_that_was_durable(name: str, tmp_path: Path) -> None:
    """Cut at every byte after the durable part, and followed by rubbish: the whole members come, the torn one not."""
    past, backup = Past(tmp_path, IDS[:7]), tmp_path / name
    records = [record(id_) for id_ in IDS[:7]]
    sizes = await save(backup, records[:3], records[3:5], records[5:6])
    whole = backup.read_bytes()
    past.session(backup, sizes[0], settled("done", 0, 1, 2), settled("done", 3, 4, 5))
    for length in range(sizes[0].size, len(whole) + 1):
        backup.write_bytes(whole[:length])
        lines = [copy.line + b"\n" for copy in copies_in(backup, sizes[0])]
        least = 3 + 2 * (length >= sizes[1].size) + (length >= sizes[2].size)
        # A plain file may end after one of several lines that were written together.
        assert len(lines) in ({least} if name != NAMES[0] else {least, 4 if least == 3 else least}), length
        assert lines == [line(each) for each in records[: len(lines)]]
    backup.write_bytes(whole[:-1])
    derived, lines = past.derive()
    assert (derived, lines) == (Derived(6, 1, 5), [line(each) for each in records[:5]])
    for rubbish in (b"\0" * 600, b'{"userId":', b"not json\n", whole[: len(whole) // 2]):
        backup.write_bytes(whole + rubbish)
        assert past.derive()[0] == Derived(6, 0, 6)


@mutant(
    "a restore takes a backup that was changed",
    "holds",
    swap(
        "Saved().plus(blocks_of(fd, 0, known.size)) != known",
        "Saved().plus(blocks_of(fd, 0, known.size)).size != known.size",
    ),
    case="b.jsonl",
)
@pytest.mark.parametrize("name", NAMES)
async def test_damage_in_the_durable_part_is_refused(name: str, tmp_path: Path) -> None:
    """A changed byte, at every place, and a missing end: exit 3, and no file."""
    past, backup = Past(tmp_path, IDS[:3]), tmp_path / name
    saved = (await save(backup, [record(id_) for id_ in IDS[:3]]))[-1]
    whole = backup.read_bytes()
    past.session(backup, saved, settled("done", 0, 1, 2))
    refused = "are not those that the run wrote"
    for at in range(0, len(whole), 5):
        for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            backup.write_bytes(damaged)
            with pytest.raises(NotAcceptable, match=refused):
                next(copies_in(backup, saved))
    with pytest.raises(NotAcceptable, match=rf"{refused}.*Put the file back.*--from-backup FILE"):
        past.derive()
    assert not list(tmp_path.glob("*derived*"))
    backup.unlink()
    backup.mkdir()
    with pytest.raises(NotAcceptable, match="is not a regular file"):
        past.derive()


async def test_a_durable_line_that_is_no_record_is_refused(tmp_path: Path) -> None:
    """Its checksum is right, so a run may have written it; it is never passed over."""
    past, backup = Past(tmp_path, IDS[:2]), tmp_path / "b.jsonl"
    no_record, no_end = "holds a line that is no record", "are not those that the run wrote"
    for bad, words in ((b"[]\n", no_record), (b"{\n", no_record), (b"{}", no_end)):
        data = line(record(IDS[0])) + bad
        backup.write_bytes(data)
        past.commits[1:] = []
        past.session(backup, Saved(len(data), zlib.crc32(data)), settled("done", 0))
        with pytest.raises(NotAcceptable, match=words):
            past.derive()


async def test_another_packer_gives_the_same_records(tmp_path: Path) -> None:
    """gzip and zstd members of other libraries, and blocks that end in the middle of a line."""
    past = Past(tmp_path, IDS[:30])
    lines = [line(record(id_, text="x" * 900)) for id_ in IDS[:30]]
    for pack in (gzip.compress, zstandard.compress):
        packed = b"".join(pack(b"".join(lines[at : at + 7])) for at in range(0, 30, 7))
        backup = tmp_path / "packed"
        backup.write_bytes(packed)
        past.commits[1:] = []
        past.session(backup, Saved(len(packed), zlib.crc32(packed)), settled("done", *range(30)))
        assert past.derive() == (Derived(30, 0, 30), lines)


async def test_what_a_killed_derivation_left_is_removed_and_an_earlier_file_replaced(tmp_path: Path) -> None:
    past, backup = Past(tmp_path, IDS[:2]), tmp_path / "b.jsonl"
    saved = await save(backup, [record(id_) for id_ in IDS[:2]])
    past.session(backup, saved[-1], settled("done", 0))
    (tmp_path / ".derived.jsonl.abc.part").write_text("half")
    (tmp_path / "derived.jsonl").write_bytes(line(record(IDS[1])))  # of a stopped run that has gone on
    assert past.derive()[0].rows == 1
    assert names_in(tmp_path) == ["b.jsonl", "derived.jsonl", "export.jsonl", "log.jsonl"]


async def test_a_changed_export_is_refused_and_a_full_disk_is_exit_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, backup = Past(tmp_path, IDS[:2]), tmp_path / "b.jsonl"
    saved = await save(backup, [record(id_) for id_ in IDS[:2]])
    past.session(backup, saved[-1], settled("done", 0))
    with monkeypatch.context() as patched:
        patched.setattr("bulkdel.engine.derived_export.SCHEMA", "CREATE TABLE no room;")
        with pytest.raises(FileFailed, match=r"cannot be sorted.*Make room in"):
            past.derive()
    damaged = input_file(past.log)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(NotAcceptable, match="rows 0 to 1 cannot be read"):
        past.derive()


def test_a_map_that_cannot_be_written_is_exit_5(tmp_path: Path) -> None:
    with pytest.raises(FileFailed, match="Make room"):
        write_map(tmp_path / "log", tmp_path / "missing" / "map", tmp_path / "missing" / "keep", None)
