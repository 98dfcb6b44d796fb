"""The jobs in docs/adding-a-job.md, exactly as they are printed there: installed beside bulkdel, they run."""

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
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from bulkdel.core.record import Record, Records
from bulkdel.job import TargetOptions
from bulkdel.parameters import parameters_of
from tests.examples import one_in
from tests.harness import Ran, bulkdel, environment, importing_from
from tests.places import log_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-job.md"
KEY = "k-12345678"


def blocks(kind: str) -> list[str]:
    """The blocks of the page of one kind: `python`, `toml`, or no word for commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [text for word, text in found if word == kind]


def written(name: str) -> str:
    """The one Python block that is a whole file with this job in it."""
    (found,) = (text for text in blocks("python") if f'name = "{name}"' in text and text.startswith('"""'))
    return found


class Server(ThreadingHTTPServer):
    """The imaginary APIs: one id in a path, or many in a body. `bad` is locked. controls: how often it has listed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.things: set[str] = set()
        self.deletions: list[list[str]] = []
        self.controls = 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path in {"/members", "/things"} and "id" not in query:
            self.server.controls += 1
            self.answer(200, {url.path[1:]: [{"id": id_} for id_ in sorted(self.server.things)[:10]]})
        elif url.path == "/things":
            self.answer(200, {"things": [{"id": id_} for id_ in query["id"] if id_ in self.server.things]})
        else:
            found = (id_ := unquote(url.path.removeprefix("/members/"))) in self.server.things
            self.answer(200 if found else 404, {"id": id_} if found else {})

    def do_DELETE(self) -> None:
        id_ = unquote(self.path.removeprefix("/members/"))
        if id_ == "bad" or id_ not in self.server.things:
            self.answer(423 if id_ == "bad" else 404, {})
            return
        self.server.deletions.append([id_])
        self.server.things.remove(id_)
        self.answer(204)

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["content-length"])))["ids"]
        answers = []
        for id_ in ids:
            known = "deleted" if id_ in self.server.things else "unknown"
            locked = {"status": "locked", "code": "HELD"} if id_ == "bad" else {"status": known}
            answers.append({"id": id_, **locked})
        self.server.deletions.append(ids)
        self.server.things -= set(ids) - {"bad"}
        self.answer(200, {"things": answers})

    def answer(self, status: int, content: object = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        signed = KEY in {self.headers["x-key"], (self.headers["authorization"] or "").removeprefix("Bearer ")}
        self.send_response(status if signed else 403)
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


PIP = {
    "PIP_USER": "0",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both jobs of the page, installed by its command; PIP_TARGET says where, instead of into this venv."""
    folder = tmp_path_factory.mktemp("package")
    (toml,) = blocks("toml")
    (folder / "myjob").mkdir()
    (folder / "myjob" / "members.py").write_text(written("delete-members"))
    # The page prints one project. This one has the second job of the page, too.
    (folder / "myjob" / "things.py").write_text(written("delete-things"))
    both = toml.replace('["members"]', '["members", "things"]').replace(
        "\n\n[tool", '\ndelete-things = "things:DeleteThings"\n\n[tool'
    )
    (folder / "myjob" / "pyproject.toml").write_text(both)
    program, *words = shlex.split(blocks("")[0].splitlines()[0])
    assert program == ".venv/bin/python"
    env = {**environment({}), **PIP, "PIP_TARGET": str(folder / "site")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@dataclass
class Bench:
    """The installed examples, a folder to work in, and the server."""

    package: Path
    folder: Path
    server: Server

    def run(self, *args: object, key: str | None = KEY, fault: str = "") -> Ran:
        """Run the real command with these jobs installed beside it."""
        env = {**importing_from(self.package), **({} if key is None else {"THINGS_KEY": key, "FORUM_KEY": key})}
        env |= {"FAULT": fault, "SECRET": "swordfish"}
        return bulkdel(*args, env=env, cwd=self.folder)

    def args(self, *ids: str, job: str = "delete-things") -> list[object]:
        """An export of `ids`, and the words that run it."""
        (self.folder / "export.csv").write_text("".join(f"{id_}\n" for id_ in ["id", *ids]))
        return [job, "export.csv", "--host", self.server.url, "--rate", 0]

    @property
    def pool(self) -> str:
        """What confirms a run at this server."""
        return self.server.url.removeprefix("http://")


@pytest.fixture
def bench(package: Path, tmp_path: Path, server: Server) -> Bench:
    return Bench(package, tmp_path, server)


def test_the_shortest_job_has_at_most_40_lines() -> None:
    assert len(written("delete-members").splitlines()) <= 40


def test_the_shortest_job_runs(bench: Bench) -> None:
    """One request an id. An id that would leave its path segment is refused at the preflight."""
    ids = [*(f"m{n}" for n in range(40)), "a:b@c", "bad", "../m1"]
    server = bench.server
    server.things = {*ids, "kept"}  # `../m1` is also what the list of the control begins with
    args = bench.args(*ids, job="delete-members")
    refused = bench.run("plan", *args)
    assert (refused.code, "../m1" in refused.err) == (3, True), refused
    ran = bench.run("run", *args, "--skip-invalid", "10", "--confirm", 42, "--pool", bench.pool, "--json")
    assert (ran.code, ran.counts()) == (1, {"done": 41, "refused": 1, "invalid": 1}), ran
    assert server.things == {"bad", "kept", "../m1"}
    assert sorted(server.deletions) == sorted([id_] for id_ in ids[:41])
    server.things.add("c:d@e")  # it shows that such a path is read as it is sent
    verified = bench.run("verify", "export.csv", "--host", bench.server.url, "--json")
    assert (verified.code, verified.summary["gone"]) == (0, 41), verified


def test_the_example_runs(bench: Bench) -> None:
    """A refused id costs no request; verify has its control; going on after --limit has one too."""
    ids = [*(f"t{n}" for n in range(249)), "bad"]
    server = bench.server
    server.things = {*ids, "kept"}
    args = bench.args(*ids)
    assert "delete-things" in bench.run("jobs").out
    plan = bench.run("plan", *args)
    assert plan.code == 0, plan
    assert "200 of 200 looked up exist" in plan.out
    assert not server.deletions
    confirmed = (*args, "--confirm", 250, "--pool", bench.pool, "--json")
    ran = bench.run("run", *confirmed, "--limit", 100)
    assert (ran.code, ran.counts()) == (0, {"done": 100, "remaining": 150}), ran
    assert server.controls == 2, "the plan reads it, and so does the run"
    ran = bench.run("run", *confirmed)
    assert (ran.code, ran.counts()) == (1, {"done": 249, "refused": 1}), ran
    assert server.things == {"bad", "kept"}
    assert sorted(len(each) for each in server.deletions) == [50, 100, 100]
    verified = bench.run("verify", "export.csv", "--host", bench.server.url, "--json")
    assert (verified.code, verified.summary["gone"]) == (0, 249), verified
    assert server.controls >= 3, "one as the run went on, two for verify"
    refused = bench.run("results", "export.csv", "--only", "refused").out
    assert [(row["id"], row["code"]) for row in map(json.loads, refused.splitlines())] == [("bad", "HELD")]


def test_verify_finds_what_is_still_there(bench: Bench) -> None:
    bench.server.things = {"t1", "t2", "kept"}
    args = bench.args("t1", "t2")
    assert bench.run("run", *args, "--confirm", 2, "--pool", bench.pool).code == 0
    bench.server.things.add("t2")
    verified = bench.run("verify", "export.csv", "--host", bench.server.url, "--json")
    assert (verified.code, verified.summary["gone"], verified.summary["still_there"]) == (1, 1, 1), verified


def test_the_example_says_what_is_missing(bench: Bench) -> None:
    args = ("plan", *bench.args("t1"))
    assert "not signed in" in bench.run(*args, key=None).out
    assert bench.run(*args, key="wrong").code == 4
    assert "has no sandbox" in bench.run(*args, "--sandbox").err


@pytest.mark.parametrize("job", one_in(2, ["delete-members", "delete-things"]))
def test_no_check_finds_anything_wrong(job: str, bench: Bench) -> None:
    """Without a look-alike, as the page prints it; and at the server, where it may delete what is named."""
    assert ".venv/bin/bulkdel job check delete-members" in blocks("")[0].splitlines()
    checked = bench.run("job", "check", job)
    assert checked.code == 0, checked
    bench.server.things = {f"t{n}" for n in range(20)}
    named = [word for n in range(6) for word in ("--id", f"t{n}")]
    checked = bench.run("job", "check", job, "--host", bench.server.url, *named)
    assert checked.code == 0, checked
    assert re.search("^ok +target-state/after", checked.out, re.MULTILINE)
    assert {id_ for ids in bench.server.deletions for id_ in ids} <= {f"t{n}" for n in range(6)}


def test_the_examples_are_typed(package: Path) -> None:
    """`mypy --strict`, as the last line of one promises: in the project, so that what they import is known already."""
    modules = [str(package / f"{module}.py") for module in ("members", "things")]
    words = [sys.executable, "-m", "mypy", "--strict", *modules]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_other_block_runs(tmp_path: Path) -> None:
    """In the order of the page, with the names of the blocks before. Their assertions hold."""
    names: dict[str, Any] = {"__name__": "page"}
    for text in blocks("python"):
        exec(compile(text, str(PAGE), "exec", dont_inherit=True), names)
    shelf = names["DeleteFromShelf"]()
    target = shelf.target(TargetOptions(parameters=parameters_of(shelf, {"shelf": "A 7"})))
    (request,) = target.action(None).calls(Records.of([Record(0, "t1")]))
    assert request.path == "/shelves/A%207/delete"
    found = [{"id": "a", "status": "suspended"}, {"id": "b", "status": "active"}]
    accounts, strays = names["StatusLookUps"]().match(["a"], found)
    assert (accounts["a"].reached, strays) == (True, 1)
    assert blocks("")[1:] == [".venv/bin/bulkdel job new delete-pages\n"]
    assert bulkdel("job", "new", "delete-pages", cwd=tmp_path).code == 0
    assert (tmp_path / "delete-pages" / "pyproject.toml").exists()


# --- what a job does wrong --------------------------------------------------------------------------------------------

FAULTY = """
import os
from dataclasses import replace

import things
from bulkdel_jobs.parts.auth import FixedAuth

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
        self.asked = records.ids
        fail("call", self.asked)
        return super().calls(records)

    def read(self, response):
        if b"HELD" in response.body:
            fail("refused", self.asked)
        fail("read", self.asked)
        return "no decision" if os.environ["FAULT"] == "text" else super().read(response)


class Key(FixedAuth):
    async def ensure(self):
        fail("ensure")

    def hide(self, text):
        fail("hide")
        return super().hide(text)


class Job(things.DeleteThings):
    name = "delete-faulty"

    def __init__(self):
        fail("job")

    def target(self, options):
        fail("target")
        made = super().target(options)

        def auth(*_, **__):
            fail("auth")
            fixed = made.make_auth()
            return Key(pool=fixed.pool, headers=fixed.headers, secrets=fixed.secrets)

        return replace(made, make_auth=auth, job_action=Delete(), job_look_ups=LookUps())
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
    (info / "entry_points.txt").write_text("[bulkdel.jobs]\ndelete-faulty = faulty:Job\ndelete-gone = nowhere:Job\n")
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
    return ["run", *bench.args(*IDS, job="delete-faulty")[:-1], rate, "--confirm", 151, "--pool", bench.pool]


@pytest.mark.parametrize("where", ["job", "target", "auth", "ensure", "look-up", "match"])
def test_a_fault_inside_a_job_before_the_confirmation(where: str, faulty: Bench) -> None:
    ran = faulty.run(*faulty_args(faulty), fault=where)
    assert ran.code == 4, ran
    check_blamed(ran.err)
    assert not faulty.server.deletions
    assert not list(faulty.folder.rglob("log.jsonl"))


@pytest.mark.parametrize(("where", "rate"), one_in(2, [("call", 0), ("call", 100), ("read", 0), ("refused", 100)]))
def test_a_fault_inside_a_job_is_that_jobs(where: str, rate: int, faulty: Bench) -> None:
    """Mended, the same command goes on."""
    args = faulty_args(faulty, rate)
    ran = faulty.run(*args, fault=where)
    assert ran.code == 4, ran
    check_blamed(ran.err)
    assert "To go on:" in ran.err
    assert "thing-of-mine" not in log_of(faulty.folder / "export.csv", "delete-faulty").read_text()
    ran = faulty.run(*args, "--json")
    assert (ran.code, ran.counts()) == (1, {"done": 150, "refused": 1}), ran
    assert faulty.server.things == {"bad", "kept"}


def test_a_job_that_returns_no_decision_is_named(faulty: Bench) -> None:
    args = faulty_args(faulty)
    ran = faulty.run(*args, fault="text")
    assert ran.code == 4, ran
    assert "the job delete-faulty failed: NoDecision" in ran.err
    assert "Delete.read returned str in the place of a Decision" in ran.err
    assert "Traceback" not in ran.err
    assert faulty.run(*args).code == 1


def test_a_job_that_cannot_be_loaded_keeps_no_other_job_from_running(faulty: Bench) -> None:
    listed = faulty.run("jobs")
    assert (listed.code, "Traceback" in listed.err) == (0, False)
    assert "delete-gone  the job 'delete-gone' cannot be loaded from nowhere:Job" in listed.out
    assert "delete-users  " in listed.out
    ran = faulty.run("plan", *faulty.args("t1", job="delete-gone"))
    assert (ran.code, "cannot be loaded" in ran.err, "Traceback" in ran.err) == (2, True, False), ran
    (faulty.folder / "config.toml").write_text("[run]\nrate = 100\n")
    faulty.server.things = {"t1"}
    ran = faulty.run("plan", *faulty.args("t1", job="delete-faulty"), "--config", "config.toml")
    assert ran.code == 0, ran


def test_a_fault_inside_a_job_while_it_verifies(faulty: Bench) -> None:
    args, place = faulty_args(faulty), "export.csv.runs/delete-faulty"
    assert faulty.run(*args).code == 1
    for where in ("match", "control"):
        ran = faulty.run("verify", place, "--host", faulty.server.url, fault=where)
        assert ran.code == 4, ran
        check_blamed(ran.err)
    assert faulty.run("verify", place, "--host", faulty.server.url).code == 0
