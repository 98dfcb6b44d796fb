"""What only looks holds no object that could delete: the real commands, with a job that says when one is made."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.harness import KEYS, POOL, Ran, bulkdel, case, finish, importing_from, start, user_ids
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import before

IDS = user_ids(300, seed=13)

JOB = """
import os
from pathlib import Path
import bulkdel_jobs.genauth.genauth_job
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.genauth_job import GenAuth

class Watched(GenAuth):
    def action(self, id_type):
        Path(os.environ["MADE"]).touch()
        return super().action(id_type)

bulkdel_jobs.genauth.genauth_job.GenAuth = Watched

class Job(DeleteUsers):
    name = "watched"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A job `watched`, installed as `pip install` would; it leaves a file when the deleting side is made."""
    folder = tmp_path / "site"
    info = folder / "watched-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "watched.py").write_text(JOB)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: watched\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bulkdel.jobs]\nwatched = watched:Job\n")
    return {**KEYS, **importing_from(folder), "MADE": str(tmp_path / "made")}


@mutant(
    "the object that can delete exists before the confirmation",
    "confirm",
    before("check_sample(plan)", "plan.target.action(plan.id_type)"),
)
def test_plan_sample_and_confirmation_hold_no_object_that_deletes(tmp_path: Path, env: dict[str, str]) -> None:
    made = tmp_path / "made"

    def run(command: str, *more: object) -> Ran:
        return bulkdel(command, "watched", it.export, "--host", it.served.url, "--rate", 0, *more, env=env)

    with case(tmp_path, IDS) as it:
        assert run("plan").code == 0
        assert run("plan", "--backup-to", tmp_path / "b").code == 0
        assert run("run").code == 2
        assert run("run", "--confirm", 299, "--pool", POOL).code == 2
        ours, theirs = pty.openpty()
        process = start("run", "watched", it.export, "--host", it.served.url, stdin=theirs, env=env)
        os.close(theirs)
        os.write(ours, b"no\n")
        assert finish(process).code == 2
        os.close(ours)
        it.switch(pool_id="f" * 24)
        assert run("run", "--confirm", 300, "--pool", POOL).code == 2
        it.switch(pool_id=None)
        assert not made.exists()
        assert it.served.ledger.by_path["/api/v3/delete-users-batch"] == 0
        assert it.served.ledger.requests > 20, "every one of them looked the sample up"

        assert run("run", "--confirm", 300, "--pool", POOL).code == 0
        assert made.exists(), "the check can fail"
        assert it.served.ledger.deleted == 300
        made.unlink()
        log = log_of(it.export, "watched")
        assert bulkdel("results", log, env=env).code == 0
        assert bulkdel("status", "--audit", log, env=env).code == 0
        assert not made.exists()


def test_a_sample_that_finds_too_few_holds_none(tmp_path: Path, env: dict[str, str]) -> None:
    with case(tmp_path, IDS, users=IDS[:100]) as it:
        args = ("run", "watched", it.export, "--host", it.served.url, "--confirm", 300, "--pool", POOL)
        assert bulkdel(*args, env=env).code == 4
        assert not (tmp_path / "made").exists()
        assert it.served.ledger.deleted == 0
