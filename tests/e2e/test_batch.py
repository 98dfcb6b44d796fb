"""A night of many pools: one confirmation, a process a run, and the servers' own counts at the end."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pty
import shlex
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkdel.command_line import TO_TYPE
from bulkdel.core.log_entries import stamp
from bulkdel.live.ask import ask_batch
from bulkdel_jobs.sandbox import Sandbox
from tests import pageclient
from tests.e2e.test_backup import limited
from tests.examples import one_in
from tests.forum import TOKEN, Forum
from tests.harness import (
    KEYS,
    Ran,
    bulkdel,
    case,
    entries,
    finish,
    importing_from,
    is_alive,
    processes_of,
    sandbox,
    start,
    told_after,
    user_ids,
    wait_until,
    write_objects,
)
from tests.httppage import block
from tests.mutants import mutant
from tests.recorded import rewrite
from tests.restserver import served
from tests.syntax import before, drop, negate, only_if, swap

OVER_ALL = 30.0


@dataclass
class Night:
    """A folder with night.toml, and a sandbox for each of its pools."""

    folder: Path
    pools: dict[str, Sandbox]
    ids: dict[str, list[str]]

    @property
    def file(self) -> Path:
        return self.folder / "night.toml"

    def write(self, *names: str, head: str = "", **more: str) -> None:
        """Describe these runs. more: further lines of a run."""
        lines = [head]
        for name in names:
            lines += ["[[run]]", f'name = "{name}"', f'export = "{name}.jsonl"', f'host = "{self.pools[name].url}"']
            lines.append(more.get(name, ""))
        self.file.write_text("\n".join(lines))

    def batch(self, command: str, *options: object, env: Mapping[str, str] | None = None, **popen: Any) -> Ran:
        where = self.where if command in {"plan", "run", "verify"} else []
        return bulkdel("batch", command, self.file, *where, *options, env=env or {}, **popen)

    @property
    def where(self) -> list[str]:
        """The options that name the host of each pool."""
        return [word for each in self.pools.values() for word in ("--host", each.url)]

    def confirmed(self) -> list[str]:
        """The options that `batch plan` shows."""
        planned = json.loads(self.batch("plan", "--json").out)["to_confirm"]
        return ["--confirm", str(planned["ids"]), "--plan", planned["plan"]]

    def effects(self, name: str) -> list[int]:
        """How often each id was really deleted, by the server's own count."""
        return [self.pools[name].ledger.effects(id_, "user_id") for id_ in self.ids[name]]

    def log(self, name: str) -> Path:
        return self.folder / "night" / name / "log.jsonl"

    def pid_of(self, name: str) -> int | None:
        """Of the process of a run, by its log."""
        if not self.log(name).exists():
            return None
        pids = [entry["pid"] for entry in entries(self.log(name)) if entry.get("event") == "start"]
        return int(pids[-1]) if pids else None


@contextmanager
def night(folder: Path, counts: Mapping[str, int], **switches: Any) -> Iterator[Night]:
    """A sandbox, an export and a credentials file for each pool."""
    key = folder / "key.env"
    key.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    key.chmod(0o600)
    ids = {name: user_ids(count, seed=seed) for seed, (name, count) in enumerate(counts.items())}
    with ExitStack() as stack:
        # One user is in no export: it is the control of a verification.
        users = {name: [*ids[name], *user_ids(1, seed=99)] for name in counts}
        pools = {name: stack.enter_context(sandbox(users[name], **switches)) for name in counts}
        for name in counts:
            write_objects(folder / f"{name}.jsonl", ids[name])
        yield Night(folder, pools, ids)


HEAD = '[defaults]\njob = "delete-users"\ncredentials_file = "key.env"\nrate = 0\n'


@mutant(
    "the file of a batch prints a line of any file",
    "_rows",
    negate('"name" not in columns'),
)
def test_a_file_that_only_the_file_of_a_batch_names_is_not_quoted(tmp_path: Path) -> None:
    """It may hold secrets, or be a pipe that nobody writes to."""
    (tmp_path / "key.env").write_text("GENAUTH_ACCESS_KEY_SECRET=canary-0123\nGENAUTH_ACCESS_KEY_ID=canary-4567\n")
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / "night.toml"
    for name, why in (("key.env", "no column 'name'"), ("pipe", "is not a regular file")):
        file.write_text(f'from = "{name}"\n[defaults]\njob = "delete-users"\n')
        for command in ("plan", "status"):
            ran = bulkdel("batch", command, file, env={})
            assert (ran.code, why in ran.err, "canary" in ran.out + ran.err) == (2, True, False), ran


@mutant(
    "TOML that is nested too deeply is a bug of the program",
    "toml_in",
    swap("RecursionError", "MemoryError"),
    crashes=True,
)
def test_toml_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """The file of a batch, a config, and a table in a variable."""
    file = tmp_path / "night.toml"
    file.write_text(f"parallel = {'[' * 5_000}{']' * 5_000}\n")
    for words in (("batch", "plan", file), ("plan", "delete-users", tmp_path / "users.jsonl", "--config", file)):
        ran = bulkdel(*words, env={})
        assert (ran.code, "not TOML" in ran.err) == (2, True), ran
    ran = bulkdel("plan", "delete-users", tmp_path / "users.jsonl", env={"BULKDEL_PROTECT__POOLS": "[" * 5_000})
    assert (ran.code, "BULKDEL_PROTECT__POOLS" in ran.err) == (2, True), ran


def test_a_number_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text('{"id":"a"}\n')
    file = tmp_path / "night.toml"
    file.write_text(f'[[run]]\nname = "a"\njob = "delete-users"\nexport = "users.jsonl"\nexclude = {1 << 70}\n')
    for command in ("plan", "status"):
        ran = bulkdel("batch", command, file, env={})
        assert (ran.code, "a value cannot be used: Integer exceeds 64-bit range" in ran.err) == (2, True), ran


@pytest.mark.parametrize("kind", ["pipe", "link"])
@mutant(
    "what a process of a batch says is appended to any file",
    "_open",
    swap("stat.S_ISREG(found.st_mode) and found.st_nlink == 1", "stat.S_ISREG(found.st_mode)"),
    case="link",
)
def test_what_a_process_says_goes_to_no_file_of_others(kind: str, tmp_path: Path) -> None:
    with night(tmp_path, {"a": 3}) as it:
        it.write("a", head=HEAD)
        other = tmp_path / "other.txt"
        other.write_text("kept")
        (folder := tmp_path / "night" / "a").mkdir(parents=True)
        if kind == "pipe":
            os.mkfifo(folder / "plan.log")
        else:
            os.link(other, folder / "plan.log")
        (tmp_path / "a.jsonl").unlink()  # the process of the plan says so
        planned = it.batch("plan")
        assert (planned.code, other.read_text()) == (3, "kept"), planned


@mutant(
    "a key goes to the host that only the file of a batch names",
    "Batch._check_hosts",
    negate("not is_own_host(load_job(run.job), self._target(run, str(host), here))"),
)
def test_no_key_goes_to_a_host_that_only_the_file_names(tmp_path: Path) -> None:
    """The plan, the run and the verification are refused; the refusal prints the command, where each host is typed."""
    with night(tmp_path, {"one": 5, "two": 5}) as it:
        it.write("one", "two", head=HEAD)
        for command in ("plan", "run", "verify"):
            refused = bulkdel("batch", command, it.file, env={})
            assert refused.code == 2, refused
            assert all(served.url in refused.err for served in it.pools.values())
            typed = ["--host", TO_TYPE] * 2
            assert shlex.split(refused.err.splitlines()[-1]) == ["bulkdel", "batch", command, str(it.file), *typed]
            assert bulkdel("batch", command, it.file, *typed, env={}).code == 2
        assert [served.ledger.requests for served in it.pools.values()] == [0, 0]


def renamed(prefix: str) -> str:
    """A line of a run whose credentials are in variables with this prefix."""
    pairs = ", ".join(f'{name} = "{prefix}{name}"' for name in KEYS)
    return f"credentials = {{ {pairs} }}"


@mutant(
    "the file of a batch picks any secret of the machine",
    "check_source",
    swap('source.endswith(f"_{name}")', "source.isupper()"),
)
def test_the_file_picks_no_secret_that_does_not_belong_to_its_job(tmp_path: Path) -> None:
    """Another secret is refused before any request. One of the right kind is named, with its host."""
    with night(tmp_path, {"one": 5}) as it:
        head, url = '[defaults]\njob = "delete-users"\nrate = 0\n', it.pools["one"].url
        env = {f"LYON_{name}": value for name, value in KEYS.items()}
        others = {"AWS_ACCESS_KEY_ID": KEYS["GENAUTH_ACCESS_KEY_ID"], "AWS_SECRET": KEYS["GENAUTH_ACCESS_KEY_SECRET"]}
        pairs = ", ".join(f'{name} = "{other}"' for name, other in zip(KEYS, others, strict=True))
        it.write("one", head=head, one=f"credentials = {{ {pairs} }}")
        for command in ("plan", "run", "verify"):
            refused = it.batch(command, env=others)
            assert (refused.code, it.pools["one"].ledger.requests) == (2, 0), refused
            assert "no file of a batch sends any other" in refused.err
        it.write("one", head=head, one=renamed("LYON_"))
        told = f"  one: {', '.join(env)} to {url}\n"
        planned = it.batch("plan", "--json", env=env)
        assert (planned.code, told in planned.err) == (0, True), planned
        confirmed = json.loads(planned.out)["to_confirm"]
        ran = it.batch("run", "--confirm", confirmed["ids"], "--plan", confirmed["plan"], env=env)
        assert (ran.code, it.effects("one"), told in ran.err) == (0, [1] * 5, True), ran
        verified = it.batch("verify", env=env)
        assert (verified.code, told in verified.err) == (0, True), verified


@mutant(
    "the file of a batch sets an option of the machine",
    "FROM_BATCH",
    swap("_set_by(File.BATCH)", '_set_by(File.BATCH) | {"on_event"}'),
)
def test_the_file_sets_nothing_of_the_machine_and_its_own_config_does(tmp_path: Path) -> None:
    """The command of an event is run only where a config has it that is typed. Its host needs no --host then."""
    with night(tmp_path, {"one": 5}) as it:
        proof, own = tmp_path / "proof", tmp_path / "own.toml"
        line = f'on_event = "touch {proof}"\n'
        it.write("one", head=HEAD + line)
        refused = it.batch("plan")
        assert (refused.code, "on_event: no file of a batch may set it" in refused.err) == (2, True), refused
        it.write("one", head=HEAD)
        own.write_text(f'[run]\nhost = "{it.pools["one"].url}"\n{line}')
        planned = bulkdel("batch", "plan", it.file, "--config", own, "--json", env={})
        assert (planned.code, proof.exists()) == (0, False), planned
        words = json.loads(planned.out)["command"]
        ran = bulkdel(*words[1:], env={})
        assert (ran.code, it.effects("one"), proof.exists()) == (0, [1] * 5, True), ran
        assert f"batch verify {it.file} --config {own}" in ran.err


@mutant(
    "the processes of a batch begin in the folder of its file",
    "Night._child",
    swap(
        'Work(placed.words("run", more), environment, keeper)',
        'Work(placed.words("run", more), environment, keeper, self._batch.base)',
    ),
)
@mutant(
    "an exclude file of a batch is not read in the folder of its file",
    "BatchRun.placed",
    swap('("exclude", *WRITTEN_BY_BATCH)', "WRITTEN_BY_BATCH"),
)
def test_a_relative_name_means_the_folder_of_whoever_wrote_it(tmp_path: Path) -> None:
    """Those of the own config are in the folder where the command is typed, those of the file are beside it.

    In each of both folders lie files with the names of the other. A command that a log prints works where it is said.
    """
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    theirs.mkdir()
    own.mkdir()
    with night(theirs, {"one": 6}) as it:
        ids, proof = it.ids["one"], tmp_path / "proof"
        for folder, kept, of_file in ((own, ids[0], ids[1]), (theirs, ids[2], ids[3])):
            write_objects(folder / "keep.jsonl", [kept])
            write_objects(folder / "of file.jsonl", [of_file])
            (folder / "tell.sh").write_text(f"#!/bin/sh\necho {folder.name} >> {proof}\n")
            (folder / "tell.sh").chmod(0o700)
        it.write("one", head=HEAD + 'exclude = ["of file.jsonl:id"]\nlimit = 2\n')
        (own / "own.toml").write_text('[run]\nexclude = ["keep.jsonl"]\non_event = "./tell.sh"\n')
        words = ("batch", "plan", it.file, "--config", "own.toml", *it.where, "--json")
        planned = bulkdel(*words, cwd=own, env={})
        assert (planned.code, json.loads(planned.out)["to_confirm"]["ids"]) == (0, 4), planned
        ran = bulkdel(*json.loads(planned.out)["command"][1:], cwd=own, env={})
        assert (ran.code, sum(it.effects("one"))) == (0, 2), ran
        told = bulkdel("status", it.log("one"), cwd=tmp_path, env={}).out.splitlines()
        begins = next(number for number, line in enumerate(told) if line.startswith("To go on, in "))
        where, line = told[begins].removeprefix("To go on, in ").removesuffix(":"), shlex.split(told[begins + 1])
        options = ("--host", it.pools["one"].url, "--config", "own.toml", "--limit", 2)
        ran = bulkdel(*line[1:], *options, cwd=Path(where))
        assert (ran.code, it.effects("one")) == (0, [0, 1, 1, 0, 1, 1]), (ran, line)
        assert set(proof.read_text().split()) == {"own"}


@mutant(
    "a protected host of a batch needs not be typed",
    "_trouble",
    swap('values["host"] not in wanted.get("typed_hosts", ())', 'values["host"] in wanted.get("typed_hosts", ())'),
)
def test_no_file_confirms_a_protected_host(tmp_path: Path) -> None:
    """The own config protects the host, and has it. Only a host that is typed begins; the file cannot say it."""
    with night(tmp_path, {"one": 5}) as it:
        own, url = tmp_path / "own.toml", it.pools["one"].url
        own.write_text(f'[run]\nhost = "{url}"\n[protect]\nhosts = ["{url}"]\n')
        it.write("one", head=HEAD, one=f'confirm_host = "{url.removeprefix("http://")}"')
        refused = bulkdel("batch", "plan", it.file, "--config", own, env={})
        assert (refused.code, "no file confirms it" in refused.err) == (2, True), refused
        it.write("one", head=HEAD)
        planned = bulkdel("batch", "plan", it.file, "--config", own, env={})
        assert (planned.code, "its host is protected: type --host URL" in planned.out) == (2, True), planned
        ran = bulkdel("batch", "run", it.file, "--config", own, "--confirm", 5, "--plan", "0" * 64, env={})
        assert (ran.code, it.effects("one")) == (2, [0] * 5), ran
        planned = bulkdel("batch", "plan", it.file, "--config", own, "--host", url, "--json", env={})
        assert planned.code == 0, planned
        ran = bulkdel(*json.loads(planned.out)["command"][1:], env={})
        assert (ran.code, it.effects("one")) == (0, [1] * 5), ran
        assert entries(it.log("one"))[0]["confirmed"]["host"] == url.removeprefix("http://")


@mutant(
    "the file of a batch loosens what the config of the user holds back",
    "BatchArguments.batch",
    drop("batch.check_limits(self.here)"),
    case="max_refused-3-1000",
)
@pytest.mark.parametrize(
    ("name", "own", "loose"),
    [
        ("max_refused", "3", "1000"),
        ("spare", ["active-since=2000-01-01"], ["active-since=2025-01-01"]),
        ("only_status", ["Suspended"], ["Activated"]),
    ],
)
def test_no_file_loosens_what_the_config_holds_back(name: str, own: Any, loose: Any, tmp_path: Path) -> None:
    with night(tmp_path, {"one": 5}) as it:
        config = tmp_path / "own.toml"
        config.write_text(f"[run]\n{name.replace('_', '-')} = {json.dumps(own)}\n")
        it.write("one", head=HEAD, one=f"{name} = {json.dumps(loose)}")
        for command in ("plan", "run"):
            ran = bulkdel("batch", command, it.file, "--config", config, "--host", it.pools["one"].url, env={})
            assert (ran.code, f"(one), {name}: your config has another value" in ran.err) == (2, True), ran
        assert it.effects("one") == [0] * 5
        it.write("one", head=f'not_after = "23:00"\n{HEAD}')
        config.write_text('[run]\nnot_after = "22:00"\n')
        ran = bulkdel("batch", "plan", it.file, "--config", config, "--host", it.pools["one"].url, env={})
        assert (ran.code, f"{it.file}, not_after: your config has another value" in ran.err) == (2, True), ran
        config.write_text(f"[run]\n{name.replace('_', '-')} = {json.dumps(own)}\n")
        it.write("one", head=HEAD, one=f"{name} = {json.dumps(own)}")
        ran = bulkdel("batch", "plan", it.file, "--config", config, "--host", it.pools["one"].url, env={})
        assert "your config has another value" not in ran.err, ran


def asked(refused: Ran) -> list[str]:
    """The options of the command that an unconfirmed batch prints."""
    words = shlex.split(next(line for line in refused.err.splitlines() if line.startswith("  bulkdel ")))
    return words[words.index("--confirm") :]


def shown(page: Path) -> dict[str, Any]:
    """The status of the live page; page: its socket."""
    status: dict[str, Any] = asyncio.run(pageclient.ask(str(page), "GET", "/status.json")).json()
    return status


def beyond(times: list[float], rate: float, workers: int) -> float:
    """How far the worst of all windows is beyond rate * W + workers + 2 % of rate."""
    lowest, worst = math.inf, -math.inf
    for count, at in enumerate(sorted(times)):
        lowest = min(lowest, count - rate * at)
        worst = max(worst, count + 1 - rate * at - lowest)
    return worst - (workers + 0.02 * rate)


@mutant(
    "a run that was added to a batch is not confirmed anew",
    "BatchState.due",
    only_if("not self.confirmed", "found[run.name] = Due.NEW"),
)
@mutant(
    "a run that fails stops the others of its batch",
    "NightState.closed",
    swap(
        "self.failures_max is not None and self.failures >= self.failures_max",
        "self.failures >= (self.failures_max or 1)",
    ),
)
@mutant(
    "a complete run of a batch is started again",
    "BatchState.is_complete",
    swap('"complete"', '"done"'),
)
@pytest.mark.soak
def test_different_endings_in_one_night(tmp_path: Path) -> None:
    """One run completes, one halts, one has a wrong key. Mended, and with another run, the command does the rest."""
    with night(tmp_path, {"good": 60, "halts": 60, "locked": 10, "late": 20}) as it:
        wrong = renamed("WRONG_")
        head = HEAD.replace('credentials_file = "key.env"\n', "")
        key = 'credentials_file = "key.env"'
        it.write("good", "halts", "locked", head=head, good=key, halts=key, locked=wrong)
        it.pools["halts"].switches = it.pools["halts"].switches.changed({"forbidden": True})
        env = {f"WRONG_{name}": value if name.endswith("_ID") else "a-wrong-secret" for name, value in KEYS.items()}
        unconfirmed = it.batch("run", env=env)
        assert (unconfirmed.code, it.pools["good"].ledger.deleted) == (2, 0), unconfirmed
        options = asked(unconfirmed)
        log = Path(f"{it.file}.batch.jsonl")
        assert [entry["digest"] for entry in entries(log) if entry["type"] == "planned"] == [options[3]]
        assert options[1] == "120"
        ran = it.batch("run", "--json", *options, env=env)
        ended = {run["name"]: (run["status"], run["exit_code"]) for run in ran.summary["runs"]}
        assert ended == {"good": ("complete", 0), "halts": ("halted", 4), "locked": ("not started", 4)}, ran
        assert (ran.code, it.effects("good"), sum(it.effects("halts"))) == (4, [1] * 60, 0)
        assert it.pools["locked"].ledger.deleted == 0
        files = [log, *(tmp_path / "night").rglob("*.log"), it.log("good")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert not any("a-wrong-secret" in path.read_text() for path in files)
        confirmed = [entry for entry in entries(log) if entry["type"] == "confirmed"]
        assert [(entry["ids"], entry["how"], *entry["runs"]) for entry in confirmed] == [
            (120, "options", "good", "halts")
        ]
        header = entries(it.log("good"))[0]
        assert header["confirmed"]["how"] == "batch"

        # The cause is mended, and a run is added: what was confirmed goes on, and only the rest is asked for.
        it.pools["halts"].switches = it.pools["halts"].switches.changed({"forbidden": False})
        it.write("good", "halts", "locked", "late", head=head, good=key, halts=key, locked=key, late=key)
        again = it.batch("run", *options)
        assert (again.code, "Not confirmed, so not begun: locked (new), late (new)" in again.err) == (2, True), again
        assert (it.effects("halts"), it.pools["locked"].ledger.deleted, it.pools["late"].ledger.deleted) == (
            [1] * 60,
            0,
            0,
        )
        more = asked(again)
        assert more[1] == "30"
        done = it.batch("run", "--json", *more)
        assert (done.code, done.summary["status"]) == (0, "complete"), done
        assert done.summary["totals"]["deleted"] == 150
        assert [effects for name in it.ids for effects in it.effects(name)] == [1] * 150
        requests = sum(pool.ledger.requests for pool in it.pools.values())
        # Complete runs are not started again, and the first confirmation still counts.
        sizes = {path: path.stat().st_size for path in files}
        assert it.batch("run", *options).code == 0
        assert sum(pool.ledger.requests for pool in it.pools.values()) == requests
        assert {path: path.stat().st_size for path in files if path != log} == {p: sizes[p] for p in files if p != log}
        assert_afterwards(it)


def assert_afterwards(it: Night) -> None:
    """What can be asked when every run is complete: status, results, report and verify of all."""
    shown = it.batch("status", "--json")
    assert {run["name"]: run["deleted"] for run in shown.summary["runs"]} == {n: len(it.ids[n]) for n in it.ids}
    assert shown.summary["totals"]["settled"] == 150
    assert "150 of 150 rows; runs: 4 complete" in it.batch("status", "--watch").out
    assert it.batch("ctl", "pause").code == 3
    night = it.file.with_suffix("")
    written = bulkdel("results", night / "good", night / "late", "--out", it.folder / "out", env={})
    assert written.code == 0, written
    assert sorted(path.name for path in (it.folder / "out").iterdir()) == ["good.jsonl", "late.jsonl"]
    lines = (it.folder / "out" / "late.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == it.ids["late"]
    assert bulkdel("results", night, "--out", it.folder / "out", env={}).code == 2
    report = it.folder / "night.json"
    assert bulkdel("report", night, "--out", report, env={}).code == 0
    assert (json.loads(report.read_text())["rows"], len(json.loads(report.read_text())["runs"])) == (150, 4)
    it.pools["late"].pool.add_ids([it.ids["late"][3]], created_at="2020-01-01T00:00:00.000Z")
    verified = it.batch("verify", "--only", "good", "--only", "late", "--json")
    found = {run["name"]: (run["gone"], run["still_there"], run["exit_code"]) for run in verified.summary["runs"]}
    assert (verified.code, found) == (1, {"good": (60, 0, 0), "late": (19, 1, 1)}), verified


@pytest.mark.soak
def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    """Its confirmed rows count in the status; it has no results."""
    with night(tmp_path, {"a": 30, "b": 20}) as it:
        it.pools["a"].switches = it.pools["a"].switches.changed({"forbidden": True})
        it.write("a", "b", head="parallel = 1\nstop_after_failures = 1\n" + HEAD)
        before = it.batch("status")
        assert "0 of 0 rows; runs: 2 not begun" in before.out, before
        ran = it.batch("run", "--json", *it.confirmed())
        ended = {run["name"]: (run["status"], run["exit_code"]) for run in ran.summary["runs"]}
        assert ended == {"a": ("halted", 4), "b": ("not started", 4)}, ran
        totals, left = ran.summary["totals"], 50 - sum(pool.ledger.deleted for pool in it.pools.values())
        assert (totals["deleted"], totals["remaining"], totals["rows"]) == (0, left, 50), ran
        assert "0 of 50 rows; runs: 1 halted, 1 not begun" in it.batch("status").out
        folder, out = it.file.with_suffix(""), tmp_path / "out.jsonl"
        assert (bulkdel("results", folder / "b", "--out", out, env={}).code, out.exists()) == (3, False)
        assert bulkdel("results", folder, "--out", out, env={}).code == 0
        assert len(out.read_text().splitlines()) == 30


@pytest.mark.soak
def test_the_verifications_of_one_pool_share_its_rate(tmp_path: Path) -> None:
    with night(tmp_path, {"a": 30, "b": 30}) as it:
        it.pools["b"] = it.pools["a"]
        it.pools["a"].pool.add_ids(it.ids["b"], created_at="2020-01-01T00:00:00.000Z")
        it.write("a", "b", head=HEAD)
        assert it.batch("run", *it.confirmed()).code == 0
        it.write("a", "b", head=HEAD, a="rate = 2", b="rate = 4")
        before = len(it.pools["a"].ledger.arrivals)
        assert it.batch("verify").code == 0
        arrivals = it.pools["a"].ledger.arrivals[before:]
        assert len(arrivals) >= 6
        assert arrivals[-1] - arrivals[0] >= (len(arrivals) - 3) / 2 * 0.98


@mutant(
    "the runs of a batch have no rate over all",
    "Night.run",
    swap(
        "keeping_rate({}, over_all=batch.rate_over_all, restarted=restarted)", "keeping_rate({}, restarted=restarted)"
    ),
)
@mutant(
    "Ctrl-C leaves the processes of a batch running",
    "Night.drain",
    drop("self._children.drain(signum, self._drain_s)"),
)
@pytest.mark.soak
def test_a_kill_a_drain_and_one_rate_over_all(tmp_path: Path) -> None:
    """One process is killed, the other is not harmed; Ctrl-C drains; the same command does the rest, at one rate."""
    with night(tmp_path, {"a": 150, "b": 150}) as it:
        it.write("a", "b", head=f"rate_over_all = {OVER_ALL}\n" + HEAD + "chunk_size = 1\n")
        options = it.confirmed()
        page = tmp_path / "page"
        process = start(
            "batch", "run", it.file, *it.where, *options, "--listen", f"unix:{page}", env={}, start_new_session=True
        )
        wait_until(lambda: all(pool.ledger.deleted > 5 for pool in it.pools.values()), process)
        wait_until(lambda: all(run["settled"] > 5 for run in shown(page)["runs"]), process)
        status = shown(page)
        assert (status["job"], status["rows"], status["state"]) == ("batch of 2 runs", 300, "sending")
        assert status["settled"] == sum(run["settled"] for run in status["runs"]) == status["counts"]["deleted"]
        metrics = asyncio.run(pageclient.ask(str(page), "GET", "/metrics")).body.decode()
        assert 'bulkdel_rows{job="batch of 2 runs"' in metrics
        assert asyncio.run(pageclient.ask(str(page), "POST", "/control", {"command": "stop"})).status == 403
        assert it.batch("ctl", "rate", 20).code == 0
        refused = it.batch("ctl", "rate", "fast", "--only", "b")
        assert (refused.code, "b  refused: " in refused.out) == (2, True), refused
        running = it.batch("status", "--json").summary["runs"]
        assert [(run["status"], run["live"]["plan"]["ids"]) for run in running] == [("running", 150), ("running", 150)]
        second = it.batch("run", *options)
        assert (second.code, "another batch (pid" in second.err) == (3, True), second
        pid = it.pid_of("a")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        before = it.pools["b"].ledger.deleted
        wait_until(lambda: it.pools["b"].ledger.deleted > before + 5, process)
        process.send_signal(signal.SIGINT)
        ran = finish(process)
        assert ran.code == 130, ran
        assert 5 < sum(it.effects("b")) < 150
        again = it.batch("run", *options, "--json")
        assert again.code == 0, again
        assert it.effects("b") == [1] * 150
        assert [run["status"] for run in again.summary["runs"]] == ["complete", "complete"]
        assert again.summary["totals"]["remaining"] == 0
        assert it.effects("a") == [1] * 150
        times = [at for pool in it.pools.values() for at in pool.ledger.arrivals]
        late = 0.1 * OVER_ALL  # what a busy machine delays arrives with what comes after it
        assert beyond(times, OVER_ALL, 2) <= late, sorted(times)


@mutant(
    "the runs of a killed batch go on",
    "_watch",
    swap("os.getppid() == pid", "os.getppid() != -pid"),
)
def test_a_killed_batch_leaves_no_run_behind(tmp_path: Path) -> None:
    """It is confirmed on a terminal."""
    with night(tmp_path, {"a": 200}) as it:
        it.write("a", head=HEAD.replace("rate = 0", "rate = 20") + "chunk_size = 1\n")
        terminal, theirs = pty.openpty()
        process = start("batch", "run", it.file, *it.where, env={}, stdin=theirs)
        os.close(theirs)
        told_after(process, "Type the number of ids", signum=None)
        os.write(terminal, b"200\n")
        wait_until(lambda: it.pools["a"].ledger.deleted > 5, process)
        log = Path(f"{it.file}.batch.jsonl")
        assert [entry["how"] for entry in entries(log) if entry["type"] == "confirmed"] == ["typed"]
        pid = it.pid_of("a")
        assert pid is not None
        process.kill()
        process.communicate()
        os.close(terminal)
        wait_until(lambda: not is_alive(pid))
        done = sum(it.effects("a"))
        assert 5 < done < 200
        # The confirmation is kept; the time of the night stops what is left.
        soon = datetime.now(UTC) + timedelta(seconds=4)
        stopped = it.batch("run", "--not-after", soon.isoformat(timespec="seconds"))
        assert (stopped.code, done <= sum(it.effects("a")) < 200) == (6, True), stopped
        assert set(it.effects("a")) <= {0, 1}
        ends = [entry["not_after"] for entry in entries(log) if entry.get("event") == "stop"]
        assert [datetime.fromisoformat(end) for end in ends] == [soon.replace(microsecond=0)]


@mutant(
    "a run begins although its batch was stopped",
    "NightState.closed",
    swap(
        "self.stopped or (self.until is not None and now >= self.until)",
        "self.stopped and (self.until is not None and now >= self.until)",
    ),
)
@pytest.mark.soak
def test_a_batch_that_is_paused_or_stopped_begins_no_run_that_waits(tmp_path: Path) -> None:
    with night(tmp_path, {"a": 60, "b": 60, "c": 20}) as it:
        it.write("a", "b", "c", head=f"parallel = 1\n{HEAD.replace('rate = 0', 'rate = 20')}chunk_size = 1\n")
        process = start("batch", "run", it.file, *it.where, *it.confirmed(), "--json", env={})
        deleted = {name: lambda name=name: it.pools[name].ledger.deleted for name in "abc"}

        def held(name: str, share: float) -> None:
            """The server answers 429 until the test has acted."""
            it.pools[name].switches = it.pools[name].switches.changed({"share_429": share})

        wait_until(lambda: deleted["a"]() > 5, process)
        held("a", 1.0)
        paused = it.batch("ctl", "pause")
        assert (paused.code, "1 run under way and 2 waiting" in paused.out) == (0, True), paused
        wait_until(lambda: '"state": "paused"' in bulkdel("ctl", it.log("a"), "--json").out, process, every_s=0.1)
        held("a", 0.0)
        assert (deleted["a"]() < 60, deleted["b"]()) == (True, 0)
        assert it.batch("ctl", "resume").code == 0
        wait_until(lambda: deleted["b"]() > 5, process)
        held("b", 1.0)
        stopped = it.batch("ctl", "stop", "--json")
        assert (stopped.code, stopped.summary["batch"]["ok"]) == (0, True), stopped
        held("b", 0.0)
        ran = finish(process)
        assert (ran.code, deleted["a"](), deleted["c"]()) == (6, 60, 0), ran
        assert 5 < deleted["b"]() < 60
        done = it.batch("run", "--json")
        assert (done.code, [it.effects(name) for name in "abc"]) == (0, [[1] * 60, [1] * 60, [1] * 20]), done


@mutant(
    "a batch that is stopped while it plans begins its runs",
    "Night._stop",
    before(
        "self._state, self._overdue = replace(self._state, stopped=True), True", "if not self._sending:\n    return"
    ),
)
def test_a_batch_that_is_stopped_while_it_plans_begins_no_run(tmp_path: Path) -> None:
    with night(tmp_path, {"a": 20}) as it:
        it.write("a", head=HEAD)
        options = it.confirmed()
        it.pools["a"].switches = it.pools["a"].switches.changed({"latency_s": 60.0})
        process = start("batch", "run", it.file, *it.where, *options, "--json", env={})
        assert "planning: 1 planning" in told_when_planning(it, process, "ctl", "status").out
        assert "The batch is under way, planning: 1 planning" in it.batch("status").out
        stopped = it.batch("ctl", "stop")
        it.pools["a"].switches = it.pools["a"].switches.changed({"latency_s": 0.0})
        wait_until(lambda: process.poll() is not None)
        ran = finish(process)
        assert (stopped.code, "stopping" in stopped.out, ran.code, it.effects("a")) == (0, True, 6, [0] * 20), ran
        assert [(run["status"], run["exit_code"]) for run in ran.summary["runs"]] == [("not started", 6)]
        assert (f"{options[0]} {options[1]}" in ran.err, it.batch("ctl", "stop").code) == (True, 3), ran


def test_a_batch_that_is_interrupted_while_it_plans_says_so_and_no_more(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    with night(tmp_path, dict.fromkeys(names, 20)) as it:
        it.write(*names, head=HEAD)
        options = it.confirmed()
        before = {name: len(pool.ledger.arrivals) for name, pool in it.pools.items()}
        for pool in it.pools.values():
            pool.switches = pool.switches.changed({"latency_s": 60.0})
        process = start("batch", "run", it.file, *it.where, *options, "--json", env={})
        wait_until(lambda: all(len(it.pools[name].ledger.arrivals) > before[name] for name in names), process)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        told = [
            line for line in ran.err.splitlines() if "interrupted by SIGTERM" not in line and "To go on" not in line
        ]
        assert (ran.code, told) == (143, []), ran


@pytest.mark.soak
def test_a_batch_that_is_paused_while_it_plans_holds_before_its_first_run(tmp_path: Path) -> None:
    with night(tmp_path, {"a": 20}) as it:
        it.write("a", head=HEAD)
        options = it.confirmed()
        it.pools["a"].switches = it.pools["a"].switches.changed({"share_429": 1.0})
        process = start("batch", "run", it.file, *it.where, *options, env={})
        assert told_when_planning(it, process, "ctl", "pause").code == 0
        it.pools["a"].switches = it.pools["a"].switches.changed({"share_429": 0.0})
        wait_until(lambda: "sending, paused: 1 waiting" in it.batch("ctl").out, process, every_s=0.1)
        time.sleep(1.0)  # the run would begin in this time
        assert it.effects("a") == [0] * 20
        assert it.batch("ctl", "resume").code == 0
        assert (finish(process).code, it.effects("a")) == (0, [1] * 20)


def told_when_planning(it: Night, process: subprocess.Popen[bytes], *command: str) -> Ran:
    """What a command answers that is given as soon as the batch plans its run."""
    log = Path(f"{it.file}.batch.jsonl")
    wait_until(lambda: "planning: 1 planning" in str(ask_batch(log, "status", {})), process, every_s=0.05)
    return it.batch(*command)


@mutant(
    "a plan of a batch that has not changed is confirmed after a day",
    "BatchState.valid_list",
    swap("-AHEAD_S <= age_s <= REUSE_AFTER_S", "age_s >= -min(AHEAD_S, REUSE_AFTER_S)"),
)
@mutant(
    "a plan of a batch from the future is confirmed",
    "BatchState.valid_list",
    swap("-AHEAD_S <= age_s <= REUSE_AFTER_S", "age_s <= max(AHEAD_S, REUSE_AFTER_S)"),
)
def test_a_plan_of_a_batch_holds_for_a_day(tmp_path: Path) -> None:
    """Also where no plan has changed. The refusal does not renew it: the same command may be typed every night."""
    with night(tmp_path, {"a": 20}) as it:
        it.write("a", head=HEAD)
        options, log = it.confirmed(), Path(f"{it.file}.batch.jsonl")
        before = stamp(time.time() - 86_460)
        rewrite(log, lambda entry: {**entry, "at": before})
        ran = it.batch("run", *options)
        assert (ran.code, it.effects("a"), "is a plan over a day old" in ran.err) == (2, [0] * 20, True), ran
        assert f"  bulkdel batch plan {it.file} --host {it.pools['a'].url}\n" in ran.err
        assert [entry["at"] for entry in entries(log) if entry["type"] == "planned"] == [before]
        later = stamp(time.time() + 86_400)
        rewrite(log, lambda entry: {**entry, "at": later})
        assert (it.batch("run", *options).code, it.effects("a")) == (2, [0] * 20), "a plan from the future"
        log.unlink()
        gone = it.batch("run", *options)
        assert (gone.code, it.effects("a"), "is not kept here" in gone.err) == (2, [0] * 20, True), gone
        assert f"  bulkdel batch plan {it.file} --host {it.pools['a'].url}\n" in gone.err
        ran = it.batch("run", *it.confirmed())
        assert (ran.code, it.effects("a")) == (0, [1] * 20), ran


@mutant(
    "a plan of a batch from before its log was gone is confirmed",
    "BatchState.covered",
    swap(
        'due[run.name] is not Due.GONE or in_list.get("gone") is True',
        'due[run.name] is Due.GONE or in_list.get("gone") is not True',
    ),
)
@pytest.mark.traced
def test_a_plan_from_before_a_log_was_gone_confirms_nothing(tmp_path: Path) -> None:
    """The same command as before is refused. A plan that knows it confirms the run."""
    with night(tmp_path, {"a": 5}) as it:
        it.write("a", head=HEAD)
        options = it.confirmed()
        assert (it.batch("run", *options).code, it.effects("a")) == (0, [1] * 5)
        shutil.rmtree(it.log("a").parent)
        it.pools["a"].pool.add_ids(it.ids["a"], created_at="2020-01-01T00:00:00.000Z")
        ran = it.batch("run", *options)
        assert (ran.code, it.effects("a"), "is a plan from before a log was gone" in ran.err) == (2, [1] * 5, True), ran
        ran = it.batch("run", *it.confirmed())
        assert (ran.code, it.effects("a")) == (0, [2] * 5), ran


@mutant(
    "a killed batch does not know which of its runs had a log",
    "BatchState._had_log",
    swap("name in self._with_log or name in self._begun", "name in self._with_log"),
)
def test_a_killed_batch_asks_for_a_run_whose_log_is_gone(tmp_path: Path) -> None:
    """The accounts that it deleted are there again. The confirmation of before does not count for them."""
    with night(tmp_path, {"a": 100}) as it:
        it.write("a", head=HEAD.replace("rate = 0", "rate = 5") + "chunk_size = 5\n")
        process = start("batch", "run", it.file, *it.where, *it.confirmed(), env={})
        wait_until(lambda: it.pools["a"].ledger.deleted >= 10, process)
        pid = it.pid_of("a")
        assert pid is not None
        process.kill()
        process.communicate()
        wait_until(lambda: not is_alive(pid))
        before = it.effects("a")
        assert 10 <= sum(before) < 100
        shutil.rmtree(it.log("a").parent)
        it.pools["a"].pool.add_ids(it.ids["a"], created_at="2020-01-01T00:00:00.000Z")
        it.write("a", head=HEAD + "chunk_size = 5\n")
        planned, ran = it.batch("plan"), it.batch("run")
        assert (planned.code, "without the log that it had" in planned.out) == (0, True), planned
        assert (ran.code, it.effects("a"), "1 run is without the log that it had" in ran.err) == (2, before, True), ran
        ran = it.batch("run", *it.confirmed())
        assert (ran.code, it.effects("a")) == (0, [each + 1 for each in before]), ran


FORGED: dict[str, dict[str, Any]] = {
    "confirmed": {"at": 1, "digest": {}, "runs": {"pool": 1, "rows": "20", "digest": None, "spec": []}},
    "planned": {"at": "06:00", "digest": {}},
    "run_begun": {"at": "06:00", "name": 1},
    "run_ended": {"facts": {"rows": 20, "status": []}},
    "session": {"stopped": [], "not_after": "2026-01-31T06:00:00"},
}
"""By the type of an entry: members of another type than a batch writes. Those of `runs` are of its run."""


def with_members(kind: str, change: Mapping[str, Any], entry: dict[str, Any], *, of_run: bool) -> dict[str, Any]:
    """An entry of this kind with these members, or with a run that has them."""
    if entry["type"] != kind:
        return entry
    return {**entry, **({"runs": {"a": {**entry["runs"]["a"], **change}}} if of_run else change)}


@mutant(
    "a member of another type in the log of a batch is read",
    "CONFIRMED_RUN",
    swap('("job", "host", "pool", "sha256", "digest", "spec")', '("job", "host", "pool", "sha256", "spec")'),
)
@mutant(
    "the time that has stopped a run of a batch is not checked",
    "_STOP",
    swap('"stopped?": Each(TIME)', '"stopped?": (dict, list)'),
)
def test_a_forged_log_of_a_batch_is_refused_with_its_line(tmp_path: Path) -> None:
    """Each member in turn. The commands name the line, send nothing, and do not crash."""
    with night(tmp_path, {"a": 20}) as it:
        it.write("a", head=HEAD)
        assert it.batch("run", *it.confirmed()).code == 0
        log = Path(f"{it.file}.batch.jsonl")
        good, requests = log.read_bytes(), it.pools["a"].ledger.requests
        for kind, members in FORGED.items():
            for name, value in members.items():
                forged = value if name == "runs" else {name: value}
                for change in ({each: forged[each]} for each in forged):
                    rewrite(log, partial(with_members, kind, change, of_run=name == "runs"))
                    for command in ("plan", "run", "verify", "status"):
                        ran = it.batch(command)
                        told = (f"{log}: line " in ran.err, "this is a bug" in ran.err)
                        assert (ran.code, *told) == (3, True, False), (change, ran)
                    log.write_bytes(good)
        assert (it.pools["a"].ledger.requests, it.effects("a")) == (requests, [1] * 20)


@mutant(
    "a batch with another number prints the new one ready to paste",
    "words_to_confirm",
    swap("given in {None, number}", "given != 0"),
)
@mutant(
    "a list of plans confirms a run that has changed",
    "BatchState.covered",
    swap(
        '(in_list := listed.runs.get(run.name, {})).get("digest") == run.digest',
        '(in_list := listed.runs.get(run.name, {})).get("digest") is not None',
    ),
)
@pytest.mark.soak
def test_a_run_that_is_not_as_it_was_planned_keeps_no_other_from_running(tmp_path: Path) -> None:
    """After the plan one export changes, and one key loses its permission. Mended, the same command does the rest."""
    with night(tmp_path, {"a": 20, "b": 20, "c": 20}) as it:
        it.write("a", "b", "c", head=HEAD)
        options, export = it.confirmed(), tmp_path / "b.jsonl"
        assert options[1] == "60"
        before = export.read_text()
        export.write_text(before + before.splitlines()[0].replace('"id": "', '"id": "f')[:-3] + '"}\n')
        it.pools["c"].switches = it.pools["c"].switches.changed({"forbidden": True})
        ran = it.batch("run", "--json", *options)
        ended = {run["name"]: run["exit_code"] for run in ran.summary["runs"]}
        assert (ended, "b (new)" in ran.err) == ({"a": 0, "b": 2, "c": 4}, True), ran
        assert [sum(it.effects(name)) for name in "abc"] == [20, 0, 0]
        unknown = it.batch("run", "--json", "--confirm", 60, "--plan", "0" * 64)
        assert (unknown.code, [sum(it.effects(name)) for name in "abc"]) == (2, [20, 0, 0]), unknown
        printed = next(line for line in unknown.err.splitlines() if line.startswith("  bulkdel "))
        assert ("--plan" in printed, "--confirm" in printed) == (True, False), "another number is looked at first"
        export.write_text(before)
        it.pools["c"].switches = it.pools["c"].switches.changed({"forbidden": False})
        ran = it.batch("run", "--json", *options)
        assert (ran.code, [it.effects(name) for name in "abc"]) == (0, [[1] * 20] * 3), ran


@pytest.mark.soak
def test_a_killed_batch_goes_on_when_one_of_its_keys_is_repaired(tmp_path: Path) -> None:
    """One key has no permission any more, then the batch is killed. Mended, the same command does the rest of each."""
    with night(tmp_path, {"a": 40, "b": 40, "c": 40}) as it:
        it.write("a", "b", "c", head=HEAD.replace("rate = 0", "rate = 20") + "chunk_size = 1\nconcurrency = 1\n")
        options = it.confirmed()
        it.pools["c"].switches = it.pools["c"].switches.changed({"forbidden": True})
        process = start("batch", "run", it.file, *it.where, *options, "--json", env={})
        wait_until(lambda: min(sum(it.effects(name)) for name in "ab") > 3, process)
        children = processes_of(process.pid)
        process.kill()
        process.communicate()
        wait_until(lambda: not any(map(is_alive, children)))
        assert (max(sum(it.effects(name)) for name in "ab") < 40, sum(it.effects("c"))) == (True, 0)
        it.write("a", "b", "c", head=HEAD)
        it.pools["c"].switches = it.pools["c"].switches.changed({"forbidden": False})
        ran = it.batch("run", "--json", *options)
        assert (ran.code, [it.effects(name) for name in "abc"]) == (0, [[1] * 40] * 3), ran


@pytest.mark.parametrize(
    ("table", "right", "wrong"),
    [
        ("batch", "settled = [204]\nabsent = [404]", "settled = [404]\nabsent = [204]"),
        pytest.param("forum", "settled = [204]", "settled = [200, 204]", marks=pytest.mark.soak),
    ],
)
def test_a_run_whose_responses_mean_something_else_is_not_the_one_that_was_planned(
    table: str, right: str, wrong: str, tmp_path: Path
) -> None:
    """`[[http.answers]]` or `[http.statuses]` change after the plan. With the right table the same command does it."""
    ids = [f"m{n}" for n in range(12)]
    with served(Forum(members={*ids, "kept"})) as forum:
        config, file, text = tmp_path / "own.toml", tmp_path / "night.toml", block(table)
        assert right in text
        text = text.replace("https://forum.example.com", forum.url)
        write_objects(tmp_path / "a.jsonl", ids)
        head = '[defaults]\njob = "http"\nrate = 0\ncredentials = { FORUM_TOKEN = "FORUM_TOKEN" }\n'
        file.write_text(f'{head}[[run]]\nname = "a"\nexport = "a.jsonl"\n')
        config.write_text(text)
        words, env = (file, "--config", config, "--json"), {"FORUM_TOKEN": TOKEN}
        planned = bulkdel("batch", "plan", *words, env=env)
        assert planned.code == 0, planned
        confirmed = ("--confirm", len(ids), "--plan", json.loads(planned.out)["to_confirm"]["plan"])
        config.write_text(text.replace(right, wrong))
        ran = bulkdel("batch", "run", *words, *confirmed, env=env)
        assert (ran.code, "1 run is new. Nothing was sent" in ran.err) == (2, True), ran
        assert forum.effects.total() == 0
        config.write_text(text)
        ran = bulkdel("batch", "run", *words, *confirmed, env=env)
        assert (ran.code, forum.effects) == (0, {("members", id_): 1 for id_ in ids}), ran


@mutant(
    "what only looks outlives its batch",
    "main",
    swap('end_with_parent(drains=words[:1] == ["run"])', 'if words[:1] == ["run"]:\n    end_with_parent(drains=True)'),
    case="plan",
)
@pytest.mark.parametrize("command", one_in(2, ["plan", "verify"]))
def test_what_a_killed_batch_has_started_ends_with_it(command: str, tmp_path: Path) -> None:
    """Each process waits for a server that does not answer. It has no lock and sends nothing when it has ended."""
    with night(tmp_path, {"a": 20, "b": 20}) as it:
        it.write("a", "b", head=HEAD)
        if command == "verify":
            assert it.batch("run", *it.confirmed()).code == 0
        for pool in it.pools.values():
            pool.switches = pool.switches.changed({"latency_s": 60.0})
        before = {name: pool.ledger.requests for name, pool in it.pools.items()}
        process = start("batch", command, it.file, *it.where, env={})
        wait_until(lambda: all(pool.ledger.requests > before[name] for name, pool in it.pools.items()), process)
        children = processes_of(process.pid)
        assert len(children) == len(it.pools)
        process.kill()
        process.communicate()
        wait_until(lambda: not any(map(is_alive, children)))
        assert [pool.ledger.requests - before[name] for name, pool in it.pools.items()] == [1, 1]


@mutant(
    "a run that was killed is no part of the summary of its batch",
    "Night._summed_up",
    swap("ended.result", "ended.result or started"),
)
@pytest.mark.soak
def test_runs_that_were_killed_are_summed_up_from_their_logs(tmp_path: Path) -> None:
    """As the system kills processes when it is out of memory: they print no summary."""
    with night(tmp_path, {"a": 200, "b": 200}) as it:
        head = HEAD.replace("rate = 0", "rate = 20") + "chunk_size = 1\nconcurrency = 1\n"
        it.write("a", "b", head=head)
        process = start("batch", "run", it.file, *it.where, *it.confirmed(), "--json", env={})
        wait_until(lambda: all(pool.ledger.deleted > 5 for pool in it.pools.values()), process)
        assert "the rates that the runs of its batch share still hold" in it.batch("ctl", "rate", 0, "--only", "b").out
        for name in it.pools:
            pid = it.pid_of(name)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        ran = finish(process)
        runs = {run["name"]: run for run in ran.summary["runs"]}
        assert [(run["status"], run["exit_code"]) for run in runs.values()] == [("killed", 4)] * 2, ran
        assert {run["why"] for run in runs.values()} == {"its process was ended by SIGKILL"}
        for name, run in runs.items():
            assert 0 <= sum(it.effects(name)) - run["deleted"] <= 1, "a request may have been on the wire"
            assert run["deleted"] + run["remaining"] == run["rows"] == 200
        totals = ran.summary["totals"]
        assert (totals["rows"], totals["deleted"]) == (400, sum(run["deleted"] for run in runs.values()))
        shown = it.batch("status", "--json").summary["totals"]
        assert (ran.code, shown["deleted"], shown["settled"]) == (4, totals["deleted"], totals["deleted"])


@mutant(
    "a batch does not say why a run has halted",
    "_RunOfBatch.take",
    swap('event.get("event") == "stopped"', 'event.get("event") == "halted"'),
)
@mutant(
    "a run whose log could not be written is called killed",
    "state_in",
    swap("state == KILLED and before.exit == EXIT_FILE", "state == KILLED and before.exit == -EXIT_FILE"),
)
def test_a_run_whose_log_cannot_be_written_any_more(tmp_path: Path) -> None:
    """Its log has no end. The batch says why it has stopped, and its status what it is; the same command goes on."""
    with night(tmp_path, {"full": 1_200, "small": 10}) as it:
        it.write("full", "small", head=HEAD + "chunk_size = 1\n")
        confirmed = it.confirmed()
        done = it.batch("run", *confirmed, "--json", preexec_fn=limited(80_000))
        runs = {run["name"]: run for run in done.summary["runs"]}
        assert (done.code, runs["full"]["status"], runs["full"]["exit_code"]) == (5, "halted", 5), done
        assert "File too large" in str(runs["full"]["why"]), runs
        assert (runs["small"]["status"], runs["small"]["why"]) == ("complete", None), runs
        states = {run["name"]: run["status"] for run in it.batch("status", "--json").summary["runs"]}
        assert states == {"full": "halted", "small": "complete"}
        told = bulkdel("status", it.file.with_suffix("") / "full", env={}).out
        assert "or the log could not be written" in told
        ran = it.batch("run", *confirmed)
        assert (ran.code, it.effects("full"), it.effects("small")) == (0, [1] * 1_200, [1] * 10), ran


@mutant(
    "a frozen run keeps its batch from ending",
    "Supervisor._drain_in_time",
    swap("asyncio.sleep(self._drain_s + KILL_AFTER_S)", "asyncio.sleep((self._drain_s + KILL_AFTER_S) * 60)"),
)
@mutant(
    "a run of a batch has only the time to drain of another one",
    "Night._settle_all",
    swap("max", "min"),
)
@pytest.mark.soak
def test_a_frozen_run_does_not_keep_its_batch_from_ending(tmp_path: Path) -> None:
    """It is killed 10 seconds after the largest --drain of the runs, and summed up from its log."""
    with night(tmp_path, {"frozen": 200, "drains": 200}) as it:
        head = HEAD.replace("rate = 0", "rate = 20") + "chunk_size = 1\nconcurrency = 1\ndrain = 1\n"
        it.write("frozen", "drains", head=head, drains='drain = "4s"')
        process = start("batch", "run", it.file, *it.where, *it.confirmed(), "--json", env={})
        wait_until(lambda: all(pool.ledger.deleted > 5 for pool in it.pools.values()), process)
        pid = it.pid_of("frozen")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            signalled = time.monotonic()
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(50)
            assert process.poll() is not None, "it has not ended"
            assert time.monotonic() - signalled >= 4 + 10
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        ran = finish(process)
        runs = {run["name"]: run for run in ran.summary["runs"]}
        assert [(run["status"], run["exit_code"]) for run in runs.values()] == [("killed", 4), ("interrupted", 130)], (
            ran
        )
        assert (ran.code, "did not end within 14 s" in runs["frozen"]["why"]) == (130, True), ran
        assert 0 <= sum(it.effects("frozen")) - runs["frozen"]["deleted"] <= 1, "a request may have been on the wire"
        assert sum(it.effects("drains")) == runs["drains"]["deleted"]


@mutant(
    "a run of a batch is complete although its export has other ids now",
    "_is_pinned",
    swap('fingerprint(opened).sha256 == pinned["sha256"]', 'len(fingerprint(opened).sha256) == len(pinned["sha256"])'),
)
@mutant(
    "a run of a batch is complete although its log is gone",
    "whether_complete",
    swap("if is_fresh(place):\n    return Still.UNKNOWN", "if is_fresh(place):\n    return Still.COMPLETE"),
)
@pytest.mark.soak
def test_a_complete_run_whose_log_or_export_is_another_now(tmp_path: Path) -> None:
    """Another export is refused as `run` refuses it, and a log that is gone is confirmed anew. Neither stops others."""
    with night(tmp_path, {"changed": 30, "gone": 20, "removed": 10, "late": 20}) as it:
        it.write("changed", "gone", "removed", head=HEAD)
        assert it.batch("run", *it.confirmed()).code == 0
        new = user_ids(30, seed=50)
        it.pools["changed"].pool.add_ids(new, created_at="2020-01-01T00:00:00.000Z")
        whole = (tmp_path / "changed.jsonl").stat()
        write_objects(tmp_path / "changed.jsonl", new)
        os.utime(tmp_path / "changed.jsonl", ns=(whole.st_atime_ns, whole.st_mtime_ns))
        (tmp_path / "removed.jsonl").unlink()
        it.write("changed", "gone", "removed", "late", head=HEAD)
        planned = it.batch("plan", "--json")
        runs = {run["name"]: run for run in planned.summary["runs"]}
        found = [(run["complete"], run["exit_code"]) for run in runs.values()]
        assert found == [(False, 3), (True, 0), (True, 0), (False, 0)], planned
        why = runs["changed"]["trouble"]
        assert (planned.code, "SHA-256 of the export: the log has" in why) == (3, True), planned
        assert why.startswith("its export is not the one of its log: ")
        ran = it.batch("run", "--json", *it.confirmed())
        ended = {run["name"]: (run["status"], run["exit_code"], run["deleted"]) for run in ran.summary["runs"]}
        complete = {"gone": ("complete", 0, 20), "removed": ("complete", 0, 10), "late": ("complete", 0, 20)}
        assert ended == {"changed": ("not started", 3, 30), **complete}, ran
        assert (ran.code, ran.summary["status"], it.effects("late")) == (3, "incomplete", [1] * 20)
        assert [it.pools["changed"].ledger.effects(id_, "user_id") for id_ in new] == [0] * 30

        write_objects(tmp_path / "changed.jsonl", it.ids["changed"])
        shutil.rmtree(tmp_path / "night" / "gone")
        it.pools["gone"].pool.add_ids(it.ids["gone"], created_at="2020-01-01T00:00:00.000Z")
        unconfirmed = it.batch("run")
        assert (unconfirmed.code, "1 run is without the log that it had" in unconfirmed.err) == (2, True), unconfirmed
        assert it.effects("gone") == [1] * 20
        again = it.batch("run", "--json", *asked(unconfirmed))
        assert (again.code, again.summary["totals"]["deleted"], it.effects("gone")) == (0, 80, [2] * 20), again


@mutant(
    "a process of a batch sends another plan than the confirmed one",
    "check_digest",
    swap("plan_digest(plan) != confirmed", "not confirmed"),
)
@pytest.mark.traced
def test_a_process_of_a_batch_sends_only_the_plan_that_was_confirmed(tmp_path: Path) -> None:
    with case(tmp_path, user_ids(3)) as it:
        wrong = bulkdel(*it.args, env={**KEYS, "_BULKDEL_CONFIRMED_PLAN": "0" * 64})
        assert (wrong.code, sum(it.effects(user_ids(3)))) == (2, 0), wrong
        planned = bulkdel("plan", "delete-users", it.export, "--host", it.served.url, "--json")
        right = bulkdel(*it.args, env={**KEYS, "_BULKDEL_CONFIRMED_PLAN": planned.summary["digest"]})
        assert (right.code, it.effects(user_ids(3))) == (0, [1, 1, 1]), right


@pytest.mark.traced
def test_a_process_of_a_batch_for_which_it_is_too_late(tmp_path: Path) -> None:
    """It ends as stopped. Anywhere else, a time that has passed is a wrong option."""
    with case(tmp_path, user_ids(3)) as it:
        args = [*it.args, "--not-after", "2026-01-01T00:00:00Z"]
        too_late = bulkdel(*args, env={**KEYS, "_BULKDEL_RATE_KEEPER": '["/no/keeper", "all"]'})
        assert (too_late.code, "has passed" in too_late.err) == (6, True), too_late
        wrong = bulkdel(*args)
        assert (wrong.code, "has passed" in wrong.err, sum(it.effects(user_ids(3)))) == (2, True, 0), wrong


@mutant(
    "a run of a batch is started after its own time",
    "Night._closed",
    swap("self._untils.get(name)", "self._untils.get(name[:0])"),
)
@mutant(
    "the time of day that has stopped a run of a batch means the next day",
    "next_day",
    swap("NEXT_DAY_S", "-1"),
)
@mutant(
    "a session of a batch in which a run does not begin forgets when it was stopped",
    "Night.run",
    swap(
        "{**stopped_before, **self._stopped_by_their_own()}",
        "{**dict(list(stopped_before.items())[9:]), **self._stopped_by_their_own()}",
    ),
)
@pytest.mark.soak
def test_a_time_of_day_of_a_run_is_that_of_the_day_when_its_batch_began(tmp_path: Path) -> None:
    """A run whose turn comes after this time is not started. The same command again does not mean the next day."""
    with night(tmp_path, {"a": 600, "b": 20}) as it:
        head = HEAD.replace("rate = 0", "rate = 10") + "chunk_size = 1\nconcurrency = 1\n"
        soon = datetime.now(UTC) + timedelta(seconds=30)  # two plans come before, twice
        head = f'parallel = 1\n{head}not_after = "{soon:%H:%M:%SZ}"\n'
        it.write("a", "b", head=head)
        options = it.confirmed()
        ran = it.batch("run", *options, "--json")
        assert [run["exit_code"] for run in ran.summary["runs"]] == [6, 6], ran
        assert (ran.code, 0 < sum(it.effects("a")) < 600, sum(it.effects("b"))) == (6, True, 0), ran
        assert not (tmp_path / "night" / "b" / "run.log").exists(), "it was started"
        before = sum(it.effects("a"))
        it.write("a", "b", head=head.replace("rate = 10", "rate = 0"))  # one that goes on would soon be complete
        for _ in range(2):
            again = it.batch("run", "--json")
            assert [run["exit_code"] for run in again.summary["runs"]] == [2, 2], again
            assert all("would now mean" in run["why"] for run in again.summary["runs"]), again
            assert (again.code, sum(it.effects("a")), sum(it.effects("b"))) == (2, before, 0), again


SLOW_CLOCK = """
import os, time
real = time.time
if "_BULKDEL_PARENT" in os.environ:
    time.time = lambda: real() - 600
"""


@mutant(
    "a run whose clock is slow goes on after the time of its batch",
    "Night._stop_at_the_time",
    swap("timedelta(seconds=self._drain_s + KILL_AFTER_S)", "timedelta(hours=self._drain_s + KILL_AFTER_S)"),
)
@pytest.mark.soak
def test_a_run_whose_clock_is_slow_ends_at_the_time_of_its_batch(tmp_path: Path) -> None:
    """As a node of Ray with a wrong clock."""
    with night(tmp_path, {"a": 400}) as it:
        it.write("a", head=HEAD.replace("rate = 0", "rate = 10") + "chunk_size = 1\nconcurrency = 1\ndrain = 0\n")
        (tmp_path / "sitecustomize.py").write_text(SLOW_CLOCK)
        options, until = it.confirmed(), datetime.now(UTC) + timedelta(seconds=8)
        words = ("batch", "run", it.file, *it.where, *options, "--not-after", until.isoformat(), "--json")
        process = start(*words, env=importing_from(tmp_path))
        wait_until(lambda: process.poll() is not None)
        ran = finish(process)
        assert datetime.now(UTC) - until >= timedelta(seconds=10)
        assert [(run["status"], run["exit_code"]) for run in ran.summary["runs"]] == [("interrupted", 6)], ran
        deleted = it.pools["a"].ledger.deleted
        assert 0 <= deleted - ran.summary["totals"]["deleted"] <= 1, "a request may have been on the wire"
        assert (ran.code, 0 < deleted < 400) == (6, True), deleted


@mutant(
    "the window of a run of a batch is not confirmed",
    "BESIDE",
    swap('("window", "place")', '("place",)'),
)
@pytest.mark.parametrize("place", ["run", "file"])
def test_a_window_that_is_taken_out_of_the_file_is_confirmed_anew(place: str, tmp_path: Path) -> None:
    """One that the person types is no change of what was planned."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    window = f'not_after = "{until}"\n'
    with night(tmp_path, {"a": 3}) as it:
        it.write("a", head=(window if place == "file" else "") + HEAD, a=window if place == "run" else "")
        confirmed = it.confirmed()
        it.write("a", head=HEAD)
        refused = it.batch("run", *confirmed)
        assert (refused.code, it.pools["a"].ledger.deleted) == (2, 0), refused
        earlier = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
        done = it.batch("run", *it.confirmed(), "--not-after", earlier)
        assert (done.code, it.pools["a"].ledger.deleted) == (0, 3), done


@mutant(
    "the place of a run of a batch is not confirmed",
    "BESIDE",
    swap('("window", "place")', '("window",)'),
)
def test_a_place_that_is_changed_in_the_file_is_confirmed_anew(tmp_path: Path) -> None:
    """In another place the run would begin anew, and send what the plan knew as settled."""
    with night(tmp_path, {"a": 6}) as it:
        it.write("a", head=HEAD + "limit = 2\n", a='run = "here"\n')
        assert it.batch("run", *it.confirmed(), "--json").summary["runs"][0]["status"] == "incomplete"
        (log := tmp_path / "night.toml.batch.jsonl").unlink()  # as of a run that began outside of this batch
        confirmed = it.confirmed()
        it.write("a", head=HEAD + "limit = 2\n", a='run = "there"\n')
        refused = it.batch("run", *confirmed)
        assert (refused.code, it.effects("a").count(1)) == (2, 2), refused
        assert not (tmp_path / "there" / "log.jsonl").exists()
        it.write("a", head=HEAD + "limit = 2\n", a='run = "here"\n')
        assert (it.batch("run", *confirmed).code, it.effects("a").count(1), log.exists()) == (0, 4, True)


@mutant(
    "a run with a window is confirmed anew each night",
    "_Confirmation.confirm",
    swap('"digest": run.digest', '"digest": run.values["digest"]'),
)
def test_a_run_with_a_window_is_confirmed_once(tmp_path: Path) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with night(tmp_path, {"a": 6}) as it:
        it.write("a", head=f'not_after = "{until}"\n{HEAD}limit = 2\n')
        for options, count in ((it.confirmed(), 2), ((), 4)):
            ran = it.batch("run", *options)
            assert (ran.code, it.effects("a").count(1)) == (0, count), ran


@mutant(
    "the digest of a plan ignores --max-refused",
    "FACTS",
    swap(
        'PlanFact("max_refused", In.PAGE | In.DIGEST, asked=lambda run: run.settings.max_refused)',
        'PlanFact("max_refused", In.PAGE, asked=lambda run: run.settings.max_refused)',
    ),
)
@mutant(
    "the digest of a plan ignores its guards",
    "FACTS",
    swap("lambda plan: plan.guards.to_json()", "lambda plan: plan.guards.to_json() and {}"),
)
@mutant(
    "the digest of a plan ignores the exclude files",
    "FACTS",
    swap("sorted(file.key for file in plan.excluded)", "len(plan.excluded)"),
)
def test_the_digest_covers_what_is_confirmed(tmp_path: Path) -> None:
    """Each of these plans is another one; how fast it is done, and where it is kept, is not part of it."""
    ids = user_ids(20)
    other = write_objects(tmp_path / "other.jsonl", [*ids[1:], ids[0]])
    keep, keep_too = (write_objects(tmp_path / f"{seed}.jsonl", user_ids(1, seed=seed)) for seed in (8, 9))
    with sandbox(ids) as served, sandbox(ids) as elsewhere:

        def digest(
            *options: object, export: Path | str = other, host: str = served.url, job: str = "delete-users"
        ) -> str:
            ran = bulkdel("plan", job, export, "--host", host, "--json", *options)
            assert ran.code == 0, ran
            found: str = ran.summary["digest"]
            return found

        plain = digest()
        same = [digest("--rate", 7, "--concurrency", 3, "--run", tmp_path / "x.log", "--note", "n", "--chunk-size", 9)]
        exports = [digest(export=write_objects(tmp_path / "again.jsonl", ids))]
        guards = [digest("--spare", f"created-after={day}") for day in ("2020-01-01", "2020-01-02")]
        excluded = [digest("--exclude", keep), digest("--exclude", keep_too)]
        more = [digest(*words) for words in (["--limit", 5], ["--backup-to", tmp_path / "b"], ["--look-first"])]
        policy = [
            digest(*words) for words in (["--in-doubt", "resend"], ["--allow-absent"], ["--trim"], ["--max-refused", 5])
        ]
        jobs = [digest(job="disable-users"), *(digest("--app", app, job="kick-users") for app in "ab")]
        served.switches = served.switches.changed({"pool_id": "5a9db0c0000000000000beef"})
        places = [digest(), digest(host=elsewhere.url)]
    others = [*exports, *guards, *excluded, *more, *policy, *jobs, *places]
    assert same == [plain]
    assert len({plain, *others}) == 1 + len(others)
