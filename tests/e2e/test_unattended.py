"""Runs without a person: everything by environment, logs for a collector, plain lines where there is no bar."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.harness import KEYS, POOL, bulkdel, case, user_ids

IDS = user_ids(60)


def secrets_in(folder: Path) -> dict[str, str]:
    """The key as a container mounts it: files that all may read, named by variables."""
    for name, value in KEYS.items():
        (folder / name).write_text(f"{value}\n")
        (folder / name).chmod(0o444)
    return {f"{name}_FILE": str(folder / name) for name in KEYS}


def test_everything_by_environment(tmp_path: Path) -> None:
    """Job, export, options, tables of the config and the key; and a Service called `bulkdel` beside it."""
    secrets = secrets_in(tmp_path)
    with case(tmp_path, IDS) as it:
        env = {
            **secrets,
            "BULKDEL_JOB": "delete-users",
            "BULKDEL_EXPORT": str(it.export),
            "BULKDEL_HOST": it.served.url,
            "BULKDEL_RATE": "0",
            "BULKDEL_JSON": "true",
            "BULKDEL_LIMIT": "50",
            "BULKDEL_CONFIRM": str(it.ids),
            "BULKDEL_POOL": POOL,
            "BULKDEL_GENAUTH__LANG": "de-DE",
            "BULKDEL_PROTECT__POOLS": "other-pool another",
            "BULKDEL_PORT": "tcp://10.0.0.1:9400",
            "BULKDEL_SERVICE_PORT_HTTP": "9400",
            "BULKDEL_METRICS_PORT_9400_TCP_ADDR": "10.0.0.1",
        }
        ran = bulkdel("run", env=env)
        assert (ran.code, ran.counts()) == (0, {"deleted": 50, "remaining": 10}), ran
        assert sum(it.effects(IDS)) == 50
        protected = bulkdel("run", env={**env, "BULKDEL_PROTECT__POOLS": f"other-pool {POOL}"})
        assert (protected.code, sum(it.effects(IDS))) == (3, 50), protected
        # The printed command has what no option gives, and needs no BULKDEL_… of the environment.
        line = next(line for line in ran.err.splitlines() if " run delete-users " in line)
        words = shlex.split(line)
        variables = {"BULKDEL_GENAUTH__LANG": "de-DE", "BULKDEL_PROTECT__POOLS": "other-pool another"}
        assert words[:4] == ["env", *map("=".join, variables.items()), "bulkdel"]
        again = bulkdel(*words[4:], env={**secrets, **variables})
        assert (again.code, again.counts()) == (0, {"deleted": 60}), again
        assert it.effects(IDS) == [1] * len(IDS)


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    """One word that is no job is the export; a word that is one is the job."""
    with case(tmp_path, IDS) as it:
        env = {**KEYS, "BULKDEL_JOB": "kick-users", "BULKDEL_HOST": it.served.url}
        ran = bulkdel("plan", it.export, "--json", "--app", "a", env=env)
        assert (ran.code, ran.summary["job"]) == (0, "kick-users"), ran
        other = {**env, "BULKDEL_EXPORT": str(it.export), "BULKDEL_NOTE": "resign-users"}
        ran = bulkdel("plan", "--json", "delete-users", env=other)
        assert (ran.code, ran.summary["job"], ran.summary["export"]) == (0, "delete-users", str(it.export)), ran
        ran = bulkdel("plan", "--note", "delete-users", "--json", "--app", "a", env=other)
        assert (ran.code, ran.summary["job"]) == (0, "kick-users"), ran
