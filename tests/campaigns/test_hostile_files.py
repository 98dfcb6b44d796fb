"""Files of others by the hundred: plans, archives with their configs, logs and batches, mutated and sealed again.

The oracle is the interpreter (`tests.watched`), a second server that counts who asks it, and a folder that nothing may
touch: nothing is started, nothing outside the run's own files is read or written, no address is asked but the host.
`CAMPAIGN_SEED` draws the same examples again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shlex
import shutil
import socketserver
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from bulkdel.core.handover import MANIFEST, PACKED_LOG, toml_of
from bulkdel.core.log_entries import frame
from bulkdel.core.plan_file import LINES, SHA256, sealed, text_of
from bulkdel_jobs.sandbox import Sandbox
from tests.e2e.test_handover import Members, member, with_manifest, written
from tests.harness import KEYS, POOL, bulkdel, sandbox, user_ids, write_objects
from tests.mutants import mutant
from tests.syntax import swap
from tests.watched import Done, Event, Watched, watching

SEED = os.environ.get("CAMPAIGN_SEED") or f"{time.time_ns():x}"

IDS = user_ids(60)
RUN = "users.jsonl.runs/delete-users"
LOG = f"{RUN}/log.jsonl"

PLACES = "p"
"""The folder with the folder of an example. The names are short: the path of a control socket has at most 100 bytes."""

RUN_AND_TYPED = 15
"""A number with which an example is run too, and with the host typed."""

COUNTS = [pytest.param(1, id="500"), pytest.param(20, id="10000", marks=pytest.mark.soak)]
"""How often the examples of `make test` are tried."""


@dataclass(frozen=True)
class Lures:
    """What a hostile file names. outside: a folder of another user. named: a file that an export may name."""

    outside: Path
    url: str

    @property
    def named(self) -> Path:
        return self.outside.with_name("named") / "users.jsonl"

    @property
    def proof(self) -> str:
        return f"touch {self.outside / 'proof'}"

    @property
    def options(self) -> Mapping[str, str]:
        """Options of the machine, each with a value that shows where it was obeyed."""
        secret, new = str(self.outside / "secret.env"), self.outside / "new"
        return {
            "on-event": self.proof,
            "slow-while": f"{self.url}/slow",
            **dict.fromkeys(("proxy", "notify"), self.url),
            **dict.fromkeys(("ca-file", "pause-file", "plan"), secret),
            **dict.fromkeys(("backup-to", "run", "out", "state"), str(new)),
            "config": str(self.outside / "own.toml"),
            "listen": "127.0.0.1:0",
            "shards": "2@ray",
            "take-over": "",
        }

    @property
    def values(self) -> Sequence[Any]:
        """Values for any place."""
        secret = str(self.outside / "secret.env")
        texts = [self.proof, self.url, secret, "../../outside/secret.env", f"file://{self.outside}/new", "~/x", "-", ""]
        table = {"kind": "bearer", "token_file": secret}
        return [
            *texts,
            "\x1b[2J",
            "a\nb",
            "\ud800",
            "\udc80",
            "x" * 3_000,
            None,
            0,
            -1,
            2**70,
            1.5,
            True,
            [],
            {},
            [secret],
            table,
            [table],
        ]


@dataclass(frozen=True)
class Stage:
    """What every example starts from. good: valid files. asked: how often the other server was connected to."""

    folder: Path
    served: Sandbox
    lures: Lures
    watched: Watched
    asked: list[object]
    plan: Mapping[str, Any] = field(repr=False)
    commits: Sequence[tuple[str, list[dict[str, Any]]]] = field(repr=False)
    members: Members = field(repr=False)
    was_outside: Mapping[str, bytes] = field(repr=False)

    def run(
        self,
        place: Path,
        *words: object,
        env: Mapping[str, str] | None = None,
        inputs: Collection[Path] = (),
    ) -> Done:
        """Run a command in the folder of an example, and check what it did.

        inputs: exports and exclude files that a plan names: they are read.
        """
        named = [self.lures.named.parent, *inputs]
        done = self.watched.run(*words, cwd=place, within=place, named=named, env=env)
        assert [event for event in done.beyond if not self._is_harmless_run(event)] == [], (words, done)
        assert "this is a bug" not in done.err, (words, done.err)
        return done

    def _is_harmless_run(self, event: Event) -> bool:
        """Whether a process is of a batch that was accepted: a plan or a verification without a hostile word.

        Its export and its exclude files may lie anywhere: they are only read. What it writes lies in the folder.
        """
        plan = re.search(r"'-P', '-m', 'bulkdel', (?:'plan', '[a-z-]+', '[^']*'|'verify')(.*?\])", event.what)
        if event.name != "subprocess.Popen" or plan is None:
            return False
        words = re.sub(r"'--exclude', '[^']*'", "", plan[1])
        here = re.escape(os.path.realpath(self.folder / PLACES))
        words = re.sub(rf"'--(?:run|backup)', '{here}/(?:(?!\.\.|://|/[/~])[^'])*'", "", words)
        lures = (str(self.lures.outside), self.lures.url, "outside", "touch", *map("--{}'".format, self.lures.options))
        return not any(lure in words for lure in lures)

    def check(self) -> None:
        """No other server was asked, and nothing outside was changed. Users that were deleted are there again."""
        assert self.asked == []
        assert bytes_of(self.lures.outside) == self.was_outside
        self.served.pool.add_ids(IDS)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def counting() -> Iterator[tuple[str, list[object]]]:
    """A server that nothing may ask: its URL, and who has connected."""
    asked: list[object] = []

    class Noted(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), Noted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.2:{server.server_address[1]}", asked
        server.shutdown()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    print(f"CAMPAIGN_SEED={SEED}")  # noqa: T201 - pytest shows it where a test fails
    folder = tmp_path_factory.mktemp("h")
    outside, good = folder / "outside", folder / "good"
    for path in (outside, good):
        path.mkdir()
    with sandbox([*IDS, *user_ids(5, seed=1)]) as served, counting() as (url, asked):
        lures = Lures(outside, url)
        lures.named.parent.mkdir()
        write_objects(lures.named, IDS[::-1])
        secret = outside / "secret.env"
        secret.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
        secret.chmod(0o600)
        (outside / "own.toml").write_text(f"[run]\non_event = '{lures.proof}'\n")
        write_objects(good / "users.jsonl", IDS)
        write_objects(good / "keep.jsonl", IDS[:5])
        (good / "c.toml").write_text("[genauth]\nlang = 'de'\n[protect]\npools = ['other']\n")
        (good / "key.env").write_text(secret.read_text())
        (good / "key.env").chmod(0o600)
        there = ("delete-users", "users.jsonl", "--host", served.url, "--exclude", "keep.jsonl", "--rate", 0)
        planned = bulkdel("plan", *there, "--out", "plan.json", cwd=good)
        assert planned.code == 0, planned.err
        begun = folder / PLACES / "begun"  # where each example has it: the log names this folder
        shutil.copytree(good, begun)
        more = ("--limit", 50, "--backup-to", "b.jsonl", "--config", "c.toml", "--confirm", 55, "--pool", POOL)
        ran = bulkdel("run", *there, *more, cwd=begun)
        assert ran.code == 0, ran.err
        shutil.copytree(begun, folder / "begun")
        done = bulkdel("pack", "users.jsonl", "--out", folder / "run.tar.gz", cwd=begun)
        assert done.code == 0, done.err
        shutil.rmtree(begun)
        served.pool.add_ids(IDS)
        with tarfile.open(folder / "run.tar.gz") as archive:
            members = [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
        lines = [orjson.loads(line) for line in (folder / "begun" / LOG).read_bytes().splitlines()]
        with watching([("127.0.0.1", int(served.url.rpartition(":")[2]))]) as watched:
            yield Stage(
                folder,
                served,
                lures,
                watched,
                asked,
                json.loads((good / "plan.json").read_text()),
                [(line["nonce"], line["entries"]) for line in lines],
                members,
                bytes_of(outside),
            )


@contextmanager
def place_of(stage: Stage, source: str) -> Iterator[Path]:
    """A new folder with copies of these files."""
    place = stage.folder / PLACES / source
    shutil.copytree(stage.folder / source, place)
    try:
        yield place
    finally:
        shutil.rmtree(place)


# ── mutations ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])


def elsewhere(value: Any, rng: Random, lures: Lures) -> None:
    """Put a hostile value into any place, remove what is there, or add a member."""
    at, key = rng.choice(list(places_in(value)))
    way = rng.randrange(4)
    if way == 0:
        del at[key]
    elif way == 1 and isinstance(at, dict):
        at[rng.choice([*lures.options, "more"])] = rng.choice(lures.values)
    else:
        at[key] = rng.choice(lures.values)


def options_in(value: Any) -> dict[str, Any]:
    """The options of a plan, or of the manifest of an archive."""
    found: dict[str, Any] = value["command"]["options"] if "command" in value else value["options"]
    return found


def set_option(name: str, value: Any, _: Random, lures: Lures) -> None:
    """Set an option of the machine in the command of a plan or of an archive."""
    options = options_in(value)
    options[f"--{name}"] = [lures.options[name]] if lures.options[name] else []


def set_any(value: Any, rng: Random, lures: Lures) -> None:
    set_option(rng.choice(list(lures.options)), value, rng, lures)


def set_in_batch(name: str, batch: Any, rng: Random, lures: Lures) -> None:
    """Set it in a run of a batch, or for all."""
    rng.choice([batch["defaults"], *batch["run"]])[rng.choice([name, name.replace("-", "_")])] = lures.options[name]


def without(path: Sequence[Any], value: Any, _: Random, __: Lures) -> None:
    """Remove one member."""
    *above, key = path
    for each in above:
        value = value[each]
    del value[key]


Mutation = Callable[[Any, Random, Lures], None]


def export_outside(values: Any, _: Random, lures: Lures) -> None:
    values["command"]["names"][1] = str(lures.named)


def long_export(values: Any, _: Random, lures: Lures) -> None:
    values["command"]["names"][1] = "x" * 5_000


def run_in_store(value: Any, _: Random, lures: Lures) -> None:
    """The place of the run is a store."""
    options_in(value)["--run"] = [f"file://{lures.outside / 'new'}"]


def other_export(values: Any, rng: Random, lures: Lures) -> None:
    values["command"]["names"][1] = rng.choice([str(lures.named), f"{lures.url}/x", "../../named/users.jsonl", "-"])


def other_host(values: Any, rng: Random, lures: Lures) -> None:
    values["host"] = rng.choice([lures.url, f"{lures.url}/", "https://127.0.0.2", "sandbox"])


OF_PLAN: Sequence[Mutation] = (
    set_any,
    set_any,
    other_export,
    other_host,
    lambda plan, rng, lures: plan["command"]["options"].update(
        {"--exclude": [rng.choice(["", lures.url]) + str(lures.named)]}
    ),
    elsewhere,
)


def of_variables(commits: Any, rng: Random, lures: Lures) -> None:
    name = rng.choice(
        ["HTTP__AUTH", "HTTP__HOST", "GENAUTH__CREDENTIALS_FILE", "GENAUTH__BRAND", "GENAUTH__LANG", "RUN__ON_EVENT"]
    )
    secret = lures.outside / "secret.env"
    text = rng.choice(
        [lures.url, str(secret), f'{{kind="bearer",token_file="{secret}"}}', f'[{{token_file="{secret}"}}]']
    )
    session = entry_of(commits, rng, "session")
    session["to_go_on"] = ["env", f"BULKDEL_{name}={text}", *session["to_go_on"]]


def of_names(commits: Any, rng: Random, lures: Lures) -> None:
    words, secret = entry_of(commits, rng, "session")["to_go_on"], str(lures.outside / "secret.env")
    words[rng.choice([2, 3])] = rng.choice([secret, f"{lures.url}/x", "../../outside/secret.env", "kick-users"])


def of_command(commits: Any, rng: Random, _: Lures) -> None:
    entry_of(commits, rng, "session")["to_go_on"][1] = rng.choice(["restore", "plan", "batch", "demo"])


def of_excluded(manifest: Any, rng: Random, lures: Lures) -> None:
    manifest["options"]["--exclude"] = [rng.choice([f"{lures.url}/x", str(lures.outside / "secret.env")])]


OF_ARCHIVE: Sequence[Mutation] = (set_any, set_any, of_excluded, elsewhere)


def of_config(tables: Any, rng: Random, lures: Lures) -> None:
    secret, name = str(lures.outside / "secret.env"), rng.choice(list(lures.options))
    tables.setdefault(rng.choice(["run", "genauth", "http", "protect"]), {}).update(
        rng.choice(
            [
                {name.replace("-", "_"): lures.options[name]},
                {"host": lures.url},
                {"credentials_file": secret},
                {"auth": {"kind": "bearer", "token_file": secret}},
                {"deep": [{"token_file": secret}]},
                {"brand": lures.url},
            ]
        )
    )


def entry_of(commits: Any, rng: Random, *types: str) -> dict[str, Any]:
    found = [entry for _, entries in commits for entry in entries if entry.get("type") in types or not types]
    chosen: dict[str, Any] = rng.choice(found)
    return chosen


def of_header(commits: Any, rng: Random, lures: Lures) -> None:
    header = entry_of(commits, rng, "header")
    which = rng.choice(["export_path", "host", "job", "pool"])
    at = header if which in header else header["pinned"]
    at[which] = rng.choice([str(lures.named), lures.url, "sandbox", "http", f"{lures.url}/x", "enable-users"])


def of_session(commits: Any, rng: Random, lures: Lures) -> None:
    session, name = entry_of(commits, rng, "session"), rng.choice(list(lures.options))
    way = rng.randrange(3)
    if way == 0:
        session["cwd"] = str(lures.outside)
    elif way == 1:
        session.setdefault("options", {})[name.replace("-", "_")] = lures.options[name]
    else:
        session["to_go_on"] = ["bulkdel", "run", "delete-users", "users.jsonl", f"--{name}", lures.options[name]]


def of_annotation(commits: Any, rng: Random, lures: Lures) -> None:
    new: dict[str, Any] = {
        "type": "annotation",
        "event": rng.choice(["backup", "restore", "handover", "forgotten", "archive"]),
        "at": "2026-01-01T00:00:00.000Z",
    }
    place = str(lures.outside / "secret.env")
    new |= {
        "path": place,
        "cwd": str(lures.outside),
        "archive": place,
        "files": [place],
        "state": "begun",
        "log_sha256": "",
    }
    commits.append(("0123456789abcdef", [new]))


OF_LOG: Sequence[Mutation] = (
    *(of_header, of_session, of_annotation, elsewhere),
    lambda commits, rng, lures: elsewhere(entry_of(commits, rng), rng, lures),
)


OF_PACKED_LOG: Sequence[Mutation] = (of_session, of_session, of_annotation, of_variables, of_names, of_command)
"""The host of the run stays: `unpack` prints it with a warning, and the campaign types what it prints."""


def of_run(batch: Any, rng: Random, lures: Lures) -> None:
    set_in_batch(rng.choice(list(lures.options)), batch, rng, lures)


def of_credentials(batch: Any, rng: Random, lures: Lures) -> None:
    run = batch["run"][0]
    if rng.randrange(2):
        run["credentials_file"] = rng.choice([str(lures.outside / "secret.env"), "../../outside/secret.env", "~/x"])
    else:
        run["credentials"] = {rng.choice(["PYTHONPATH", "BULKDEL_ON_EVENT", "PATH", "LD_PRELOAD"]): "HOME"}


def of_places(batch: Any, rng: Random, lures: Lures) -> None:
    outside = [str(lures.outside / "new"), "../../outside/new", f"file://{lures.outside}/new", f"{lures.url}/x"]
    key = rng.choice(["folder", "from", "export", "exclude", "host", "backup", "backup_to", "run", "archive"])
    read = [str(lures.named), *outside[2:]]
    at = batch if key in {"folder", "from"} else batch["run"][0]
    at[key] = rng.choice(read if key in {"export", "exclude"} else outside)


OF_BATCH: Sequence[Mutation] = (of_run, of_run, of_credentials, of_places, elsewhere)


def mutations(of: Sequence[Mutation]) -> st.SearchStrategy[list[tuple[Mutation, int]]]:
    one = st.tuples(st.sampled_from(of), st.integers(0, 2**32))
    return st.lists(one, min_size=1, max_size=3)


def mutated(value: Any, steps: Sequence[tuple[Mutation, int]], lures: Lures) -> Any:
    """A copy with these mutations. A later one may find nothing to change any more; the first one must."""
    value, (first, *others) = copy.deepcopy(value), steps
    first[0](value, Random(first[1]), lures)
    for step, number in others:
        with suppress(AttributeError, IndexError, KeyError, TypeError):
            step(value, Random(number), lures)
    return value


Check = Callable[[list[tuple[Mutation, int]]], None]


def many(count: int, of: Sequence[Mutation], check: Check) -> None:
    """Try so many mutations."""
    quiet = settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    quiet(seed(int(SEED, 16))(given(mutations(of))(check)))()


def inputs_of(plan: Mapping[str, Any], place: Path) -> list[Path]:
    """The export and the exclude files that the command of a plan names, as far as they are there."""
    try:
        texts = [*plan["command"]["names"], *plan["command"]["options"]["--exclude"]]
    except (IndexError, KeyError, TypeError):
        return []
    return [place / each for each in texts if isinstance(each, str) and os.path.isfile(place / each)]  # noqa: PTH113 - any text


# ── the four kinds of files ───────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "the audit hook sees a command that a plan names",
    "FROM_PLAN",
    swap("_set_by(File.PLAN)", '_set_by(File.PLAN) | {"on_event"}'),
)
@mutant(
    "a file is tried in a folder that only a plan names",
    "check_folders",
    swap("arguments.approved is None", "arguments.line"),
)
@pytest.mark.parametrize("times", COUNTS)
def test_hostile_plans(stage: Stage, times: int) -> None:
    seal = {name: stage.plan[name] for name in (LINES, SHA256)}
    members = {name: value for name, value in stage.plan.items() if name not in seal}

    def check(steps: list[tuple[Mutation, int]]) -> None:
        with place_of(stage, "good") as place:
            plan = mutated(members, steps, stage.lures)
            with suppress(TypeError):  # a value that no plan can hold: the seal is another one's
                plan = sealed(plan)
            text = text_of({**seal, **plan})
            (place / "plan.json").write_text(text)
            typed = ("--host", stage.served.url) if steps[0][1] % 2 else ()
            if steps[0][1] % 3:
                stage.run(place, "show", "plan.json")
            else:
                stage.run(place, "run", "--plan", "plan.json", "--rate", 0, *typed, inputs=inputs_of(plan, place))
        stage.check()

    for name in stage.lures.options:
        check([(partial(set_option, name), RUN_AND_TYPED)])
    check([(export_outside, RUN_AND_TYPED)])
    check([(long_export, RUN_AND_TYPED)])
    check([(run_in_store, RUN_AND_TYPED)])
    for name, value in members.items():
        nested = value if isinstance(value, dict) else {}
        for path in ((name,), *((name, key) for key in nested)):
            check([(partial(without, path), RUN_AND_TYPED)])
    many(180 * times, OF_PLAN, check)


def unpacked(stage: Stage, place: Path, members: Members, *, run: bool) -> None:
    """Unpack an archive. The command that is printed names the host. run: run it, and look at the log."""
    (place / "run.tar.zst").write_bytes(zstandard.compress(written(members)))
    done = stage.run(place, "unpack", "run.tar.zst", "--to", "new")
    if done.code != 0 or "To go on:\n  " not in done.err:
        return
    words = shlex.split(done.err.split("To go on:\n  ")[1].splitlines()[0])
    assert words[words.index("--host") + 1] == stage.served.url
    if not run:
        return
    stage.run(place, "status", "new/run")
    at = words.index("bulkdel")
    env = {**KEYS, **dict(word.split("=", 1) for word in words[1:at])}
    begun = stage.folder / PLACES / "begun"  # this user has begun the run there, and a copy is compared with it
    stage.run(place, *words[at + 1 :], "--rate", 0, env=env, inputs=(begun / LOG, begun / "keep.jsonl"))


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_archives(stage: Stage, times: int) -> None:
    def check(steps: list[tuple[Mutation, int]]) -> None:
        (place := stage.folder / PLACES / "archive").mkdir(parents=True)
        try:
            manifest = mutated(json.loads(stage.members[0][1]), steps, stage.lures)
            members = [member(MANIFEST, json.dumps(manifest).encode()), *stage.members[1:]]
            unpacked(stage, place, members, run=steps[0][1] % 5 == 0)
        finally:
            shutil.rmtree(place)
        stage.check()

    for name in stage.lures.options:
        check([(partial(set_option, name), RUN_AND_TYPED)])
    check([(run_in_store, RUN_AND_TYPED)])
    many(80 * times, OF_ARCHIVE, check)


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_logs_in_archives(stage: Stage, times: int) -> None:
    """Its words are those of the command that goes on."""
    at = next(number for number, (info, _) in enumerate(stage.members) if info.name == PACKED_LOG)

    def check(steps: list[tuple[Mutation, int]]) -> None:
        data = log_of(mutated(stage.commits, steps, stage.lures))
        members = [*stage.members[:at], member(PACKED_LOG, data), *stage.members[at + 1 :]]
        (place := stage.folder / PLACES / "log").mkdir(parents=True)
        try:
            unpacked(stage, place, with_file(members, at, data), run=steps[0][1] % 3 == 0)
        finally:
            shutil.rmtree(place)
        stage.check()

    many(60 * times, OF_PACKED_LOG, check)


def with_file(members: Members, at: int, data: bytes) -> Members:
    """The size and the SHA-256 of a file in the manifest. at: its number among the members."""

    def change(found: dict[str, Any]) -> None:
        found["files"][at - 1].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    return with_manifest(members, change)


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_configs_in_archives(stage: Stage, times: int) -> None:
    at = next(number for number, (info, _) in enumerate(stage.members) if info.name == "c.toml")

    def check(steps: list[tuple[Mutation, int]]) -> None:
        text = toml_of(mutated({"genauth": {"lang": "de"}}, steps, stage.lures)).encode()
        members = [*stage.members[:at], member("c.toml", text), *stage.members[at + 1 :]]
        (place := stage.folder / PLACES / "config").mkdir(parents=True)
        try:
            unpacked(stage, place, with_file(members, at, text), run=steps[0][1] % 5 == 0)
        finally:
            shutil.rmtree(place)
        stage.check()

    many(50 * times, [of_config], check)


def log_of(commits: Any) -> bytes:
    """The lines of a log, with their checksums and the hashes of what is before."""
    lines, sha256 = b"", hashlib.sha256()
    for number, (nonce, entries) in enumerate(commits, 1):
        for entry in entries:
            if "log_sha256" in entry:
                entry["log_sha256"] = sha256.hexdigest()
        line = frame(number, [orjson.dumps(entry) for entry in entries], nonce)
        lines += line
        sha256.update(line)
    return lines


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_logs(stage: Stage, times: int) -> None:
    where = ("--host", stage.served.url)
    commands = (
        *(("status", LOG), ("status", "--audit", RUN), ("results", RUN, "--out", "rows.jsonl"), ("verify", RUN)),
        *(("verify", RUN, *where, "--rate", 0), ("pack", RUN, "--out", "new.tar.gz"), ("forget", RUN)),
        *(("restore", RUN, "--passwords", "none", "--plan"), ("run", "delete-users", "users.jsonl", *where)),
        *(("forget", RUN, "--yes"), ("report", RUN, "--out", "report.html")),
    )

    def check(steps: list[tuple[Mutation, int]]) -> None:
        try:
            data = log_of(mutated(stage.commits, steps, stage.lures))
        except (AttributeError, TypeError, ValueError):  # a value that no line can hold
            return
        with place_of(stage, "begun") as place:
            (place / LOG).write_bytes(data)
            stage.run(place, *commands[steps[0][1] % len(commands)])
        stage.check()

    many(155 * times, OF_LOG, check)


OF_BATCH_LOG: Sequence[Mutation] = (lambda commits, rng, lures: elsewhere(entry_of(commits, rng), rng, lures),)


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_logs_of_a_batch(stage: Stage, times: int) -> None:
    """The log of a batch that is complete. No command ends by an exception, whatever is in it."""
    name, where = "night.toml.batch.jsonl", ("--host", stage.served.url)
    commands = (
        *(("batch", command, "night.toml", *where) for command in ("plan", "run", "verify")),
        *(("batch", *words, "night.toml") for words in (("status",), ("status", "--json"), ("ctl",))),
    )
    with place_of(stage, "good") as place:
        run = {"name": "a", "export": "users.jsonl", "host": stage.served.url, "credentials_file": "key.env"}
        (place / "night.toml").write_text(batch_text({"run": [{**run, "job": "delete-users", "rate": 0}]}))
        planned = bulkdel("batch", "plan", "night.toml", *where, "--json", cwd=place, env={})
        assert planned.code == 0, planned
        ran = bulkdel(*json.loads(planned.out)["command"][1:], cwd=place, env={})
        assert ran.code == 0, ran
        shutil.copytree(place, stage.folder / "night", dirs_exist_ok=True)
    lines = [orjson.loads(line) for line in (stage.folder / "night" / name).read_bytes().splitlines()]
    good = [(line["nonce"], line["entries"]) for line in lines]

    def check(steps: list[tuple[Mutation, int]]) -> None:
        try:
            data = log_of(mutated(good, steps, stage.lures))
        except (AttributeError, TypeError, ValueError):  # a value that no line can hold
            return
        with place_of(stage, "night") as place:
            (place / name).write_bytes(data)
            stage.run(place, *commands[steps[0][1] % len(commands)], env={})
        stage.check()

    many(20 * times, OF_BATCH_LOG, check)


@pytest.mark.parametrize("times", COUNTS)
def test_hostile_batches(stage: Stage, times: int) -> None:
    """A batch that is accepted starts a process for each plan. It is kept from it, and its words are looked through."""
    file, typed = "night.toml", ("--host", stage.served.url)
    commands = (
        *(("batch", name, file, *typed) for name in ("plan", "plan", "plan", "run", "verify")),
        *(("batch", name, file) for name in ("status", "ctl")),
    )
    run = {"name": "a", "export": "users.jsonl", "host": stage.served.url, "credentials_file": "key.env"}
    batch = {"defaults": {"job": "delete-users", "exclude": ["keep.jsonl"]}, "run": [run, {**run, "name": "b"}]}

    def check(steps: list[tuple[Mutation, int]]) -> None:
        try:
            text = batch_text(mutated(batch, steps, stage.lures)).encode()
        except UnicodeEncodeError:  # a text that TOML cannot hold
            return
        with place_of(stage, "good") as place:
            (place / "night.toml").write_bytes(text)
            stage.run(place, *commands[steps[0][1] % len(commands)], env={})
        stage.check()

    for name in stage.lures.options:
        check([(partial(set_in_batch, name), 0)])
    many(15 * times, OF_BATCH, check)


def batch_text(tables: Mapping[str, Any]) -> str:
    """The file. What TOML cannot hold is left out."""
    plain = {name: value for name, value in tables.items() if not isinstance(value, dict)}
    nested = {name: value for name, value in tables.items() if isinstance(value, dict)}
    return toml_of({"x": without_none(plain)}).removeprefix('["x"]\n') + toml_of(without_none(nested))


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_none(each) for name, each in value.items() if each is not None}
    return [without_none(each) for each in value if each is not None] if isinstance(value, list) else value
