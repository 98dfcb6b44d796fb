"""The way there and back: users with every field are deleted and restored, both killed in the middle, and compared."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest

from bulkdel_jobs.sandbox.users import ids_of
from tests.e2e.test_restore import Undo, new_rng, undo
from tests.full_users import differences, full_users
from tests.harness import bulkdel, entries, kill, start, wait_until
from tests.places import restore_log

OTHERS = 10
KILLS = 2


def killed_midway(it: Undo, words: Sequence[object], reached: Callable[[], int], whole: int, rng: Random) -> None:
    """Start the command and kill it at a random moment, KILLS times. reached: how much of `whole` the server has."""
    latency_s = min(0.3, 300 / whole)  # killed between effect and response
    it.served.switches = it.served.switches.changed({"latency_after_s": latency_s})
    for moment in sorted(rng.sample(range(1, whole // 2), KILLS)):
        process = start(*words, "--concurrency", 1)
        wait_until(partial(_has_come, process, reached, moment))
        kill(process)
    assert 0 < reached() < whole, "it was not killed in the middle"
    it.served.switches = it.served.switches.changed({"latency_after_s": 0.003})


def _has_come(process: subprocess.Popen[bytes], reached: Callable[[], int], moment: int) -> bool:
    return reached() >= moment or process.poll() is not None


@pytest.mark.parametrize(
    ("ending", "count"),
    [(".zst", 300), *(pytest.param(ending, 10_000, marks=pytest.mark.soak) for ending in (".zst", ".gz", ""))],
)
def test_every_field_of_thousands_of_users_comes_back(ending: str, count: int, tmp_path: Path) -> None:
    """Each user once, with all fields, groups and roles that can come back; the map has each old and new id."""
    rng, before, pool = new_rng(), full_users(count + OTHERS), full_users(count + OTHERS)
    old = {ids_of(pool.user(number), "user_id")[0]: pool.user(number) for number in range(count)}
    ids = rng.sample(list(old), count)
    # What was sent has had its effect before the kill, so that hardly any look-up has to be repeated.
    with undo(tmp_path, ids, pool=pool, assignment_targets=True, latency_after_s=0.003) as it:
        it.backup = f"users.jsonl{ending}"
        deletion, restore = it.deletion("--backup-memberships"), it.restoring(count)
        killed_midway(it, deletion, lambda: pool.deleted, count, rng)
        assert it.delete("--backup-memberships").counts() == {"deleted": count}
        assert len(pool) == OTHERS

        def created() -> int:
            return pool.users_ever - count - OTHERS

        killed_midway(it, restore, created, count, rng)
        ran = bulkdel(*restore)
        assert ran.code == 0, ran
        users, memberships = map(json.loads, ran.out.splitlines())
        assert (users["job"], users["done"], users["rows"]) == ("restore-users", count, count)
        assert (memberships["job"], memberships["done"]) == ("restore-memberships", memberships["rows"])

        assert created() == count, "no user was created twice"
        assert differences(before, pool) == []
        changed = {*pool.kinds()} - {"created", "deleted", "group-added", "role-assigned"}
        assert not changed, "no mail was sent, nothing else was done"
        sent = [entry for entry in entries(restore_log(it.log)) if entry["type"] == "outcome"]
        assert Counter(entry["kind"] for entry in sent).keys() == {"done"}
        mapped = [json.loads(line) for line in it.map.read_text().splitlines()]
        assert [(line["row"], line["old"]) for line in mapped] == list(enumerate(ids))
        assert len({line["new"] for line in mapped}) == count
        for line in mapped:
            number = pool.find_alive("user_id", line["new"])
            assert number is not None
            assert pool.user(number).get("name") == old[line["old"]].get("name")
            assert ids_of(pool.user(number), "username") == ids_of(old[line["old"]], "username")
        assert it.map.stat().st_mode & 0o777 == it.derived.stat().st_mode & 0o777 == 0o600
        told = bulkdel("status", it.log).out
        assert f"{count:,} of {count:,} rows, 0 remaining; " in told
        assert f"see {it.undone_in}" in told
        states = [entry["state"] for entry in entries(it.log) if entry["type"] == "annotation"]
        assert (states[0], states[-1]) == ("begun", "ended")
        again = bulkdel(*restore)
        assert (again.code, again.out, created()) == (0, ran.out, count)
