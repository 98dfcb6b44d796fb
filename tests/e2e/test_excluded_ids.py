"""The excluded ids that a run keeps in its place: they hold without the exclude files, in every session and process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkdel.safety.exclude import ExcludeFile
from bulkdel.safety.excluded_ids import ExcludedWriter
from tests.harness import POOL, Case, bulkdel, case, user_ids, write_objects
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(240)
KEPT = IDS[::4]
SENT = [id_ for id_ in IDS if id_ not in KEPT]


def begun(it: Case, *more: object, limit: int = 20) -> Path:
    """A run with an exclude file that is removed afterwards. Returns where it was."""
    keep = write_objects(it.export.with_name("keep.jsonl"), KEPT)
    it.ids = len(SENT)
    ran = it.run("--exclude", keep, "--limit", limit, *more)
    assert ran.code == 0, ran.err
    keep.unlink()
    return keep


def nothing_kept_was_sent(it: Case) -> bool:
    return it.effects(KEPT) == [0] * len(KEPT)


@pytest.mark.parametrize("how", ["run", "again", "resume", "shards", "shards again", "store"])
@mutant(
    "a resume keeps no id of an exclude file that is gone",
    "_read_excluded",
    swap("partial(kept_in, place, header)", "lambda _: kept_in(place, header, header.excluded)"),
    case="run",
)
@mutant(
    "a shard keeps no id of an exclude file that is gone",
    "_prepared",
    swap("partial(kept_in, place, of_run)", "lambda _: kept_in(place, of_run, of_run.excluded)"),
    case="shards",
)
def test_they_hold_without_the_exclude_file(tmp_path: Path, how: str) -> None:
    """Also where the same command is typed again, and names the file that is gone."""
    with case(tmp_path, IDS) as it:
        url = f"file://{tmp_path}/night"
        more = {"shards": ("--shards", 2), "store": ("--run", url)}.get(how.partition(" ")[0], ())
        keep = begun(it, *more)
        if how == "resume":
            ran = bulkdel("resume", it.place, "--host", it.served.url, "--confirm", len(SENT), "--pool", POOL)
        else:
            again = ("--exclude", keep) if how.endswith("again") else ()
            ran = it.run(*more, *again, *(("--take-over",) if how == "store" else ()))
        assert ran.code == 0, ran.err
        assert (it.effects(SENT), nothing_kept_was_sent(it)) == ([1] * len(SENT), True)


def test_a_looked_up_record_is_compared_with_them(tmp_path: Path) -> None:
    """The excluded ids are of another type, and look-ups find their accounts, in each session again."""
    with case(tmp_path, IDS) as it:
        pool = it.served.pool
        mail_of = dict(zip(pool.user_ids("user_id"), pool.user_ids("email"), strict=True))
        mails = [mail_of[id_] for id_ in KEPT]
        keep = tmp_path / "vips.csv"
        keep.write_text("Mail\n" + "".join(f"{mail}\n" for mail in mails))
        it.ids = len(SENT)
        ran = it.run("--exclude", f"{keep}:Mail:email", "--limit", 20)
        assert ran.code == 0, ran.err
        keep.unlink()
        ran = it.run()
        assert ran.code == 0, ran.err
        assert (it.effects(SENT), nothing_kept_was_sent(it)) == ([1] * len(SENT), True)


@pytest.mark.parametrize("harm", ["removed", "changed", "cut"])
@mutant(
    "excluded ids that another person has changed are taken",
    "kept_in",
    swap("hashed.hexdigest() == sha256", "bool(hashed.hexdigest())"),
    case="changed",
)
def test_a_run_does_not_go_on_without_them(tmp_path: Path, harm: str) -> None:
    """The exclude file itself does in their place."""
    with case(tmp_path, IDS) as it:
        keep = begun(it)
        file = it.place / "excluded.zst"
        data = file.read_bytes()
        file.unlink()
        if harm == "changed":
            packing = ExcludedWriter()
            packing.add(ExcludeFile("keep.jsonl", "0" * 64, 1, "user_id"), KEPT[:1])
            file.write_bytes(packing.finish())
        elif harm == "cut":
            file.write_bytes(data[:-5])
        refused = it.run()
        assert (refused.code, "the excluded ids of this run" in refused.err) == (3, True), refused.err
        assert sum(it.effects(IDS)) == 20
        write_objects(keep, KEPT)
        ran = it.run("--exclude", keep)
        assert ran.code == 0, ran.err
        assert (it.effects(SENT), nothing_kept_was_sent(it)) == ([1] * len(SENT), True)


@mutant(
    "a resume goes on without an exclude file that a session has added",
    "check_excluded",
    swap("gone and not log.complete", "log.complete"),
)
def test_a_file_that_changed_is_one_more(tmp_path: Path) -> None:
    """What it had before is still kept, and what it has now is kept too, from then on only with the file."""
    with case(tmp_path, IDS) as it:
        keep = begun(it)
        later = [id_ for id_ in SENT if not it.served.ledger.effects(id_, "user_id")][-5:]
        write_objects(keep, later)
        it.ids -= len(later)
        ran = it.run("--exclude", keep, "--limit", 10)
        assert ran.code == 0, ran.err
        keep.unlink()
        refused = it.run()
        assert (refused.code, "other exclude files" in refused.err) == (3, True), refused.err
        write_objects(keep, later)
        ran = it.run("--exclude", keep)
        assert ran.code == 0, ran.err
        assert it.effects([*KEPT, *later]) == [0] * (len(KEPT) + 5)
        assert sum(it.effects(IDS)) == len(SENT) - 5


def test_pack_takes_them_and_forget_removes_them(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it)
        packed = bulkdel("pack", it.place, "--out", tmp_path / "run.tar.gz")
        assert packed.code == 0, packed.err
        unpacked = bulkdel("unpack", tmp_path / "run.tar.gz", "--to", tmp_path / "here")
        assert (unpacked.code, (tmp_path / "here/run/excluded.zst").exists()) == (0, True), unpacked.err
        place = tmp_path / "here/run"
        ran = bulkdel("resume", place, "--host", it.served.url, "--confirm", len(SENT), "--pool", POOL)
        assert ran.code == 0, ran.err
        assert (it.effects(SENT), nothing_kept_was_sent(it)) == ([1] * len(SENT), True)
        listed = bulkdel("forget", place)
        assert f"remove  {place}/excluded.zst, the excluded ids" in listed.out, listed


@mutant("results give no reason for a protected row", "_records", swap("result.why or PROTECTED", "result.why"))
def test_results_say_that_they_are_protected(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it)
        rows = [json.loads(line) for line in bulkdel("results", it.place, "--only", "excluded").out.splitlines()]
        assert [(row["id"], row["reason"]) for row in rows] == [(id_, "protected") for id_ in KEPT]
