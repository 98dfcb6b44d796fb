"""The backup: whatever happens, it holds the record of every user that the run deletes."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.durable import Disk, write_all
from bulkdel.library import Run
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings
from bulkdel.world import World
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.sandbox import DELETE_PATH, Pool
from tests.examples import ALL, one_in
from tests.harness import (
    DELETIONS,
    POOL,
    Case,
    Ran,
    bulkdel,
    case,
    entries,
    environment,
    finish,
    kill,
    user_ids,
    wait_for_arrivals,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(1_000, seed=12)
NAMES = ["users.jsonl", "users.jsonl.gz", "users.jsonl.zst"]


def records(path: Path) -> list[dict[str, Any]]:
    """The users in a backup, whatever it is packed with. Raises where it cannot be read to its end."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def full(pool: Pool, id_: str) -> dict[str, Any]:
    """What the API would show of a user, with everything there is."""
    ordinal = pool.find("user_id", id_)
    assert ordinal is not None
    return pool.user(ordinal)


def check_gone_is_saved(it: Case, backup: Path, ids: list[str] = IDS) -> set[str]:
    """The backup holds every user that the server deleted, field for field. Returns the deleted ids."""
    gone = {id_ for id_ in ids if it.served.ledger.effects(id_)}
    saved = {record["userId"]: record for record in records(backup)} if backup.exists() else {}
    assert gone <= saved.keys(), f"{len(gone - saved.keys())} users are gone without a copy"
    for id_ in gone:
        assert saved[id_] == full(it.served.pool, id_)
    return gone


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_exactly_the_deleted_users(name: str, tmp_path: Path) -> None:
    """Protected, unknown and poisonous ids beside them."""
    keep, poisonous = IDS[:30], IDS[500]
    with case(tmp_path, IDS, users=IDS[:950], poisonous={poisonous: (422, None)}, unknown_ids="refuse") as it:
        it.ids -= len(keep)
        backup = tmp_path / name
        ran = it.run("--backup-to", backup, "--exclude", write_objects(tmp_path / "keep.jsonl", keep))
        assert ran.counts() == {"deleted": 919, "absent": 50, "refused": 1, "excluded": 30}, ran.err
        gone = check_gone_is_saved(it, backup)
        assert gone == set(IDS[30:950]) - {poisonous}
        assert {record["userId"] for record in records(backup)} == gone | {poisonous}
        assert backup.stat().st_mode & 0o777 == 0o600
        assert f"backup     {backup}" in ran.err
        assert "970 ids in 40 requests (each id is looked up first)" in ran.err


def has_sent(it: Case, process: subprocess.Popen[bytes], requests: int) -> bool:
    """Whether the server has had so many requests, or the process has ended."""
    return it.served.ledger.requests >= requests or process.poll() is not None


KILLS = 17 if ALL else 10


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.soak) for name in NAMES[1:])])
def test_killed_again_and_again(name: str, tmp_path: Path) -> None:
    """SIGKILL at random moments: no account is gone without a copy; the file can be gone on with."""
    seed = os.environ.get("CAMPAIGN_SEED") or f"{time.time_ns():x}"
    print(f"CAMPAIGN_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    rng = random.Random(f"{seed} {name}")
    options = ("--rate", 0, "--concurrency", 8, "--chunk-size", 4)
    with case(tmp_path, IDS, options=options, latency_s=0.004, jitter_s=0.01) as it:
        backup = tmp_path / name
        kills = 0
        while kills < KILLS:
            process = it.start("--backup-to", backup)
            wanted = it.served.ledger.requests + rng.randrange(1, 40)
            wait_until(partial(has_sent, it, process, wanted))
            time.sleep(rng.random() * 0.01)
            ran = kill(process)
            assert ran.code in {0, -signal.SIGKILL}, ran.err
            if ran.code == 0:
                break  # on a busy machine the process may end before it is killed
            kills += 1
            wait_for_arrivals(it.served)
            gone = {id_ for id_ in IDS if it.served.ledger.effects(id_)}
            assert gone <= saved_so_far(backup), f"after kill {kills}"
        assert kills > 4
        ran = it.run("--backup-to", backup)
        assert ran.code == 0, ran.err
        assert check_gone_is_saved(it, backup) == set(IDS)


def saved_so_far(backup: Path) -> set[str]:
    """Ids in a backup that may end in the middle of a write: as a user would rescue them, to the last whole record."""
    if not backup.exists():
        return set()
    data = backup.read_bytes()
    if backup.suffix == ".gz":
        import zlib

        whole = b""
        while data:
            member = zlib.decompressobj(31)
            whole += member.decompress(data)
            data = member.unused_data
        data = whole
    elif backup.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        data = b""
        try:
            while part := reader.read(65_536):
                data += part
        except zstandard.ZstdError:
            pass
    return {json.loads(line)["userId"] for line in data.split(b"\n")[:-1]}


@pytest.mark.parametrize("name", one_in(3, NAMES))
def test_a_torn_end_is_cut_off(name: str, tmp_path: Path) -> None:
    """Half a write at the end, longer than what the log knows: gone on with behind the last whole piece."""
    with case(tmp_path, IDS) as it:
        backup = tmp_path / name
        assert it.run("--backup-to", backup, "--limit", 300).code == 0
        whole = backup.read_bytes()
        with backup.open("ab") as file:
            file.write(whole[: len(whole) // 5])
        ran = it.run("--backup-to", backup)
        assert ran.code == 0, ran.err
        assert check_gone_is_saved(it, backup) == set(IDS)


def limited(bytes_max: int) -> Any:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))


@mutant(
    "deleted although its copy could not be written",
    "ChunkInHand._save_copies",
    swap(
        "await backup.save([line for record in missing for line in self._copies_of(record)])",
        "saving = backup.save([line for record in missing for line in "
        "self._copies_of(record)])\n"
        "await asyncio.gather(saving, return_exceptions=True)",
    ),
    case="users.jsonl",
)
@pytest.mark.parametrize("name", one_in(3, NAMES))
def test_without_room_for_a_copy_no_user_is_deleted(name: str, tmp_path: Path) -> None:
    """The backup outgrows the limit for files: exit 5; then there is room again."""
    with case(tmp_path, IDS) as it:
        backup = tmp_path / name
        ran = it.run("--backup-to", backup, preexec_fn=limited(120_000 if name.endswith("jsonl") else 20_000))
        assert ran.code == 5, ran.err
        assert str(backup) in ran.err
        gone = {id_ for id_ in IDS if it.served.ledger.effects(id_)}
        assert gone < set(IDS)
        assert gone <= saved_so_far(backup)
        assert ran.summary["deleted"] == len(gone)
        done = it.run("--backup-to", backup)
        assert done.code == 0, done.err
        assert check_gone_is_saved(it, backup) == set(IDS)


def refused(it: Case, *options: object) -> Ran:
    """A run that ends with 3 and deletes no user."""
    before = it.served.ledger.deleted
    ran = it.run(*options)
    assert ran.code == 3, ran.err
    assert it.served.ledger.deleted == before
    return ran


def test_a_file_that_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        other = tmp_path / "other.jsonl"
        other.write_text("of another program\n")
        refused(it, "--backup-to", other)
        assert other.read_text() == "of another program\n"
        assert not it.log.exists()
        link = tmp_path / "link.jsonl"
        link.symlink_to(other)
        refused(it, "--backup-to", link)
        refused(it, "--backup-to", tmp_path)

        backup = tmp_path / "users.jsonl"
        assert it.run("--backup-to", backup, "--limit", 100).code == 0
        whole = backup.read_bytes()
        assert "--backup-to" in refused(it).err
        refused(it, "--backup-to", other)
        backup.write_bytes(whole[:-1])
        assert "are missing" in refused(it, "--backup-to", backup).err
        backup.unlink()
        refused(it, "--backup-to", backup)
        assert other.read_text() == "of another program\n"

        second = tmp_path / "second.jsonl.gz"
        ran = it.run("--backup-to", second)
        assert ran.code == 0, ran.err
        assert len(records(second)) == 900


def test_a_failed_look_up_deletes_no_user(tmp_path: Path) -> None:
    """Every look-up after the sample fails: no record can be saved, so no id is sent."""
    with case(tmp_path, IDS[:200], options=("--rate", 5, "--patience", "2")) as it:
        process = it.start("--backup-to", tmp_path / "users.jsonl")
        wait_until(it.log.exists, process)
        it.switch(share_html=0.7, share_500=0.3, fault_paths=["/api/v3/get-user-batch"])
        ran = finish(process)
        assert ran.code == 4, ran.err
        check_gone_is_saved(it, tmp_path / "users.jsonl", IDS[:200])


def leave_in_doubt(it: Case) -> None:
    """A run without a backup is killed while its requests are lost."""
    it.switch(share_drop_before=1.0, fault_paths=DELETIONS)
    process = it.start()
    wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 2, process)
    kill(process)
    it.switch(share_drop_before=0.0)
    assert bulkdel("status", it.log, "--json").summary["in_doubt"] == it.ids


@mutant(
    "the log does not know the copies of rows that were in doubt",
    "ChunkInHand._enqueue_intent",
    swap("backup.saved if backup else None", "None"),
)
def test_in_doubt_and_resent_has_a_copy(tmp_path: Path) -> None:
    """Begun without a backup, killed with requests lost; the resume keeps one, and the ids in doubt are in it too."""
    with case(tmp_path, IDS[:100], users=IDS, options=("--rate", 0, "--concurrency", 2)) as it:
        leave_in_doubt(it)
        backup = tmp_path / "users.jsonl"
        ran = it.run("--backup-to", backup)
        assert ran.counts() == {"deleted": 100}, ran.err
        assert check_gone_is_saved(it, backup, IDS[:100]) == set(IDS[:100])
        data = backup.read_bytes()
        known = [entry["backup"] for entry in entries(it.log) if entry["type"] == "intent" and "backup" in entry]
        assert [len(data), zlib.crc32(data)] in known, "a restore could not tell that the file was changed"


@mutant(
    "rows that were in doubt are sent before the log knows their copies",
    "ChunkInHand.write_intent",
    swap(
        "self._intended.issuperset(step.records.positions) and not self._copied",
        "self._intended.issuperset(step.records.positions)",
    ),
)
async def test_in_doubt_is_not_resent_unless_the_log_knows_its_copy(tmp_path: Path) -> None:
    """The log takes no intent that says how long the backup is. A loss of power could shorten the backup unseen."""

    def write(fd: int, data: bytes) -> None:
        if b'"backup":[' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(fd, data)

    with case(tmp_path, IDS[:100], options=("--rate", 0, "--concurrency", 2)) as it:
        leave_in_doubt(it)
        before = it.served.ledger.by_path[DELETE_PATH]
        settings = Settings(host=it.served.url, rate=0, backup_to=tmp_path / "users.jsonl")
        arguments = RunArguments(DeleteUsers(), str(it.export), settings, {}, environment())
        async with Run(arguments, world=World(disk=Disk(write))) as run:
            await run.run_plan()
            await run.confirm(ids=it.ids, pool=POOL)
            run.start()
            summary = await run.finished()
        assert it.served.ledger.by_path[DELETE_PATH] == before
        assert (summary.exit_code, summary.counts["deleted"]) == (5, 0)
        assert it.run("--backup-to", tmp_path / "users.jsonl").counts() == {"deleted": 100}


def test_an_intent_says_how_long_the_backup_is(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:200]) as it:
        backup = tmp_path / "users.jsonl"
        assert it.run("--backup-to", backup).code == 0
        saved = [entry["backup"] for entry in entries(it.log) if entry["type"] == "intent"]
        data = backup.read_bytes()
        assert max(saved)[0] == len(data)
        assert all(zlib.crc32(data[:size]) == crc and size for size, crc in saved)


@mutant(
    "the backup of a run is beside the place of the run",
    "Settings.backup_in",
    swap("run / BACKUP", "run.with_name(BACKUP)"),
)
@mutant(
    "the copy of the memberships is beside the place of its run",
    "Settings.memberships_in",
    swap("run / MEMBERSHIPS", "run.with_name(MEMBERSHIPS)"),
)
def test_a_backup_in_the_place_of_its_run_moves_and_comes_back_with_it(tmp_path: Path) -> None:
    """The run is killed, goes on, is moved with its export, is restored there, and forgotten."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    users, kept = IDS[:300], ("--backup", "--backup-memberships")
    with case(here, users, options=("--rate", 200, "--chunk-size", 10, *kept)) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.deleted > 50, process)
        kill(process)
        check_gone_is_saved(it, it.place / "backup.jsonl.zst", users)
        wait_for_arrivals(it.served)
        assert it.run("--rate", 0).code == 0
        check_gone_is_saved(it, it.place / "backup.jsonl.zst", users)
        assert sorted(path.name for path in here.iterdir()) == ["export.jsonl", "export.jsonl.runs"]
        here.rename(there)
        where = ("--host", it.served.url, "--rate", 0, "--confirm", 300, "--pool", POOL, "--passwords", "none")
        restored = bulkdel("restore", there / "export.jsonl", *where)
        assert restored.code == 0, restored
        assert len(it.served.pool) == 300
        run = there / "export.jsonl.runs" / "delete-users"
        listed = bulkdel("forget", run)
        for name in ("backup.jsonl.zst", "memberships.jsonl.zst"):
            assert f"  remove  {run / name}, the backup of the " in listed.out
        confirmed = listed.err.splitlines()[-1].split()
        assert bulkdel("forget", run, *confirmed[-2:]).code == 0
        assert not [*run.glob("*.zst")] or [path.name for path in run.glob("*.zst")] == ["skipped.zst"]


def test_a_backup_of_a_run_in_a_store_lies_in_it(tmp_path: Path) -> None:
    store = tmp_path / "night"
    with case(tmp_path, IDS[:60], options=("--rate", 0, "--run", f"file://{store}", "--backup")) as it:
        assert it.run("--limit", 20).code == 0
        assert it.run().code == 0
        parts = sorted((store / "backup.jsonl.zst").iterdir())
        whole = tmp_path / "whole.zst"
        whole.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert {record["userId"] for record in records(whole)} == set(IDS[:60])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backup", "--backup-to", "u.jsonl"), "both say where the copies are"),
        (("--backup-memberships",), "needs --backup, or --backup-to FILE"),
        (("--backup", "--backup-memberships", "--run", "file:///tmp/x"), "is in a store. Name a file"),
    ],
)
def test_what_cannot_be_kept_is_refused(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS[:5]) as it:
        ran = it.run(*options)
        assert (ran.code, words in ran.err) == (2, True), ran
        assert not it.served.ledger.requests
