"""The job in docs/adding-a-job.md, exactly as it is printed there: installed beside bulkdel, it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness import Ran, bulkdel, environment

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-job.md"
KEY = "k-12345678"


def blocks() -> tuple[str, str, str]:
    """The Python of the example, its pyproject.toml, and the commands that install and try it."""
    text = PAGE.read_text().partition("<!-- tests/e2e/test_add_a_job.py")[2]
    python, toml, commands = re.findall(r"```(?:python|toml|)\n(.*?)```", text, re.DOTALL)[:3]
    return python, toml, commands


class Server(ThreadingHTTPServer):
    """The imaginary API. It refuses every request with `bad` in it. controls: how often it was asked for any thing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.things: set[str] = set()
        self.deletions: list[int] = []
        self.refused: list[int] = []
        self.controls = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.controls += "first" in query
        asked = query.get("id", sorted(self.server.things)[: len(query.get("first", []))])
        self.answer(200, [{"id": id_} for id_ in asked if id_ in self.server.things])

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["content-length"])))["ids"]
        if "bad" in ids:
            self.server.refused.append(len(ids))
            self.answer(409, [])
            return
        self.server.deletions.append(len(ids))
        self.server.things -= set(ids)
        self.answer(200, [])

    def answer(self, status: int, things: list[dict[str, str]]) -> None:
        body = json.dumps({"things": things}).encode()
        self.send_response(status if self.headers["x-key"] == KEY else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


PIP = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example lies as the printed command installs it; PIP_TARGET says where, instead of into this venv."""
    folder = tmp_path_factory.mktemp("package")
    python, toml, commands = blocks()
    (folder / "thingsjob").mkdir()
    (folder / "thingsjob" / "things.py").write_text(python)
    (folder / "thingsjob" / "pyproject.toml").write_text(toml)
    program, *words = shlex.split(commands.splitlines()[0])
    assert program == ".venv/bin/python"
    env = {**environment({}), **PIP, "PIP_TARGET": str(folder / "site")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@dataclass
class Bench:
    """The installed example, a folder to work in, and the server."""

    package: Path
    folder: Path
    server: Server

    def run(self, *args: object, key: str | None = KEY, fault: str = "") -> Ran:
        """Run the real command with this job installed beside it."""
        path = os.pathsep.join([str(self.package), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {"PYTHONPATH": path, **({} if key is None else {"THINGS_KEY": key})}
        env |= {"FAULT": fault, "SECRET": "swordfish"}
        return bulkdel(*args, env=env, cwd=self.folder)

    def args(self, *ids: str) -> list[object]:
        """An export of `ids`, and the words that run it."""
        (self.folder / "export.csv").write_text("".join(f"{id_}\n" for id_ in ["id", *ids]))
        return ["delete-things", "export.csv", "--host", f"http://127.0.0.1:{self.server.server_port}", "--rate", 0]


@pytest.fixture
def bench(package: Path, tmp_path: Path, server: Server) -> Bench:
    return Bench(package, tmp_path, server)


def test_the_example_runs(bench: Bench) -> None:
    """A refused request is split; verify has its control; going on after --limit has one too."""
    ids = [*(f"t{n}" for n in range(249)), "bad"]
    server = bench.server
    server.things = {*ids, "kept"}
    args = bench.args(*ids)
    assert "delete-things" in bench.run("jobs").out
    plan = bench.run("plan", *args)
    assert plan.code == 0, plan
    assert "200 of 200 looked up exist" in plan.out
    assert not server.deletions
    confirmed = (*args, "--confirm", 250, "--pool", "things", "--json")
    ran = bench.run("run", *confirmed, "--limit", 100)
    assert (ran.code, ran.counts()) == (0, {"done": 100, "remaining": 150}), ran
    assert server.controls == 0, "the sample has found some"
    ran = bench.run("run", *confirmed)
    assert (ran.code, ran.counts()) == (1, {"done": 249, "refused": 1}), ran
    assert server.things == {"bad", "kept"}
    assert server.deletions[:2] == [100, 100]
    assert sum(server.deletions) == 249
    assert server.refused[-1] == 1
    assert max(server.deletions) == 100
    verified = bench.run("verify", "export.csv.checkpoint.jsonl", "--json")
    assert (verified.code, verified.summary["gone"]) == (0, 249), verified
    assert server.controls >= 3, "one as the run went on, two for verify"
    assert bench.run("results", "export.csv.checkpoint.jsonl", "--only", "refused").out.count("bad") == 1


def test_verify_finds_what_is_still_there(bench: Bench) -> None:
    bench.server.things = {"t1", "t2", "kept"}
    args = bench.args("t1", "t2")
    assert bench.run("run", *args, "--confirm", 2, "--pool", "things").code == 0
    bench.server.things.add("t2")
    verified = bench.run("verify", "export.csv.checkpoint.jsonl", "--json")
    assert (verified.code, verified.summary["gone"], verified.summary["still_there"]) == (1, 1, 1), verified


def test_the_example_says_what_is_missing(bench: Bench) -> None:
    args = ("plan", *bench.args("t1"))
    assert "not signed in" in bench.run(*args, key=None).out
    assert bench.run(*args, key="wrong").code == 4
    assert "has no sandbox" in bench.run(*args, "--sandbox").err


def test_the_example_is_typed(package: Path) -> None:
    """`mypy --strict`, as its last line promises: in the project, so that what it imports is known already."""
    words = [sys.executable, "-m", "mypy", "--strict", str(package / "things.py")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what a job does wrong --------------------------------------------------------------------------------------------

FAULTY = """
import os
import things
from bulkdel.core.decision import NextStep, Decision

SECRET = os.environ["SECRET"]


def fail(where, ids=()):
    if os.environ["FAULT"] == where:
        raise LookupError(f"no such field in {list(ids)} of {SECRET}, key {os.environ['THINGS_KEY']}: 'colour' missing")


class LookUps(things.ThingLookUps):
    def calls(self, ids):
        fail("calls", ids)
        return super().calls(ids)

    def read(self, response):
        fail("look-up")
        return super().read(response)

    def match(self, ids, found):
        fail("match", ids)
        return super().match(ids, found)

    def read_control(self, response):
        fail("control")
        return super().read_control(response)


class Delete(things.Delete):
    def calls(self, records):
        self.asked = [record.id for record in records]
        fail("call", self.asked)
        return super().calls(records)

    def read(self, response):
        if response.status == 409:
            fail("refused", self.asked)
        fail("read", self.asked)
        return super().read(response)


class Key(things.Key):
    async def ensure(self):
        fail("ensure")
        await super().ensure()

    def hide(self, text):
        fail("hide")
        return super().hide(text)


class Things(things.Things):
    def auth(self, transport, rate_limiter, **more):
        fail("auth")
        return Key(self.secret)

    def look_ups(self, id_type, *, full=False):
        return LookUps()

    def action(self, id_type):
        return Delete()


class Job(things.DeleteThings):
    name = "delete-faulty"

    def __init__(self):
        fail("job")

    def target(self, options):
        fail("target")
        made = super().target(options)
        return Things(made.host, made.pinned_host, made.secret)
"""


@pytest.fixture
def faulty(bench: Bench) -> Bench:
    """The same bench with a second job, which raises what it should not, where the environment says."""
    (bench.folder / "site").mkdir()
    for path in bench.package.iterdir():
        (bench.folder / "site" / path.name).symlink_to(path)
    bench.package = bench.folder / "site"
    (bench.package / "faulty.py").write_text(FAULTY)
    info = bench.package / "faulty-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bulkdel.jobs]\ndelete-faulty = faulty:Job\n")
    return bench


IDS = [*(f"thing-of-mine-{n}" for n in range(150)), "bad"]


def check_blamed(told: str) -> None:
    """The job's name, the type of the exception and the line. Its text is left out: it has ids and secrets."""
    at = told.index("the job delete-faulty failed: LookupError; ")  # the plan before it shows ids
    line = FAULTY[: FAULTY.index("raise LookupError")].count("\n") + 1
    assert "report it to its author" in told[at:]
    assert f"faulty.py, line {line}, in fail: raise LookupError(" in told[at:]
    assert "bug in this program" not in told
    for secret in ("thing-of-mine", "swordfish", KEY):
        assert secret not in told[at:]


def faulty_args(bench: Bench, rate: int = 0) -> list[object]:
    bench.server.things = {*IDS, "kept"}
    return ["run", "delete-faulty", *bench.args(*IDS)[1:-1], rate, "--confirm", 151, "--pool", "things"]


@pytest.mark.parametrize("where", ["job", "target", "auth", "ensure", "look-up", "match"])
def test_a_fault_inside_a_job_before_the_confirmation(where: str, faulty: Bench) -> None:
    ran = faulty.run(*faulty_args(faulty), fault=where)
    assert ran.code == 4, ran
    check_blamed(ran.err)
    assert not faulty.server.deletions
    assert not list(faulty.folder.glob("*.checkpoint.jsonl"))


@pytest.mark.parametrize(("where", "rate"), [("call", 0), ("call", 100), ("read", 0), ("refused", 100)])
def test_a_fault_inside_a_job_is_that_jobs(where: str, rate: int, faulty: Bench) -> None:
    """Mended, the same command goes on."""
    args = faulty_args(faulty, rate)
    ran = faulty.run(*args, fault=where)
    assert ran.code == 4, ran
    check_blamed(ran.err)
    assert "To go on:" in ran.err
    assert "thing-of-mine" not in (faulty.folder / "export.csv.checkpoint.jsonl").read_text()
    ran = faulty.run(*args, "--json")
    assert (ran.code, ran.counts()) == (1, {"done": 150, "refused": 1}), ran
    assert faulty.server.things == {"bad", "kept"}


def test_a_fault_inside_a_job_while_it_verifies(faulty: Bench) -> None:
    args, log = faulty_args(faulty), "export.csv.checkpoint.jsonl"
    assert faulty.run(*args).code == 1
    for where in ("match", "control"):
        ran = faulty.run("verify", log, fault=where)
        assert ran.code == 4, ran
        check_blamed(ran.err)
    assert faulty.run("verify", log).code == 0
