"""A job without look-ups: one id in the path of a request, or many ids in a body whose answer speaks of each id.

The job is installed for this test, and its API is a server of this file. What the server did is the oracle.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.harness import Ran, bulkdel, importing_from
from tests.mutants import mutant
from tests.syntax import swap

JOB = """
import json, os
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Request, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import Detail, OutcomeWords
from bulkdel.errors import UsageError
from bulkdel.job import Job, NoLookUps

STATUSES = {
    204: Decision(NextStep.SETTLED),
    403: Decision(NextStep.FORBIDDEN, Detail(403), reason="the key may not do this"),
    404: Decision(NextStep.LOOK_UP, Detail(404)),
    422: Decision(NextStep.SPLIT, Detail(422)),
}
VERDICTS = {"ok": Verdict.SETTLED, "absent": Verdict.ABSENT, "no": Verdict.REFUSED, "again": Verdict.AGAIN}


class Key:
    pool, users, waiting = "things", (), None
    async def ensure(self): pass
    def sign(self, request): return {"x-key": "k"}, 1
    def rejected(self, generation): pass
    def accepted(self, generation): pass
    def hide(self, text): return text


class Each:
    def calls(self, records):
        return [Request("DELETE", f"/{os.environ['THINGS']}/" + quote(records.ids[0], safe=""))]
    def read(self, response):
        return STATUSES.get(response.status, Decision(NextStep.RETRY, maybe_applied=True, reason="lost"))


class Many:
    def calls(self, records):
        body = json.dumps({"ids": records.ids}).encode()
        return [Request("POST", "/things", body=body, headers=(("content-type", "application/things+json"),))]
    def read(self, response):
        if response.status != 200:
            return Decision(NextStep.RETRY, maybe_applied=True, reason="lost")
        answers = [IdAnswer(one["id"], VERDICTS[one["is"]], Detail(one["is"])) for one in json.loads(response.body)]
        return Decision(NextStep.PER_ID, data=answers)


@dataclass(frozen=True)
class Api:
    host: str
    pinned_host: str
    many: bool
    key: str = "k"
    key_hint: str = ""
    pause_s: float = 1.0
    def auth(self, transport, rate_limiter, **more): return Key()
    def look_ups(self, id_type, *, full=False): return NoLookUps()
    def action(self, id_type): return Many() if self.many else Each()


class DeleteEach(Job):
    contract = 3
    name, summary, chunk_max, config_table = "delete-each", "one id a request", 1, "each"
    words = OutcomeWords(names={"done": "deleted", "absent": "absent"})
    id_types, id_type_default = {"thing": IdType("thing")}, "thing"
    def target(self, options): return Api(options.host, options.host, self.chunk_max > 1)
    def sandbox(self, ids, id_type, parameters): raise UsageError("no sandbox")


class DeleteMany(DeleteEach):
    name, chunk_max = "delete-many", 1000
"""


class Server(ThreadingHTTPServer):
    """Things by id. asked: how often each id was in a request. answers: what is answered for an id instead of "ok".

    forbidden: each deletion is refused. refused: those of these ids. lost: one deletion of these ids has effect, and is
    answered 500. drop: of these ids, one answer leaves the id out. wrong: one answer names another id.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.things: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.forbidden = False
        self.refused: set[str] = set()
        self.lost: set[str] = set()
        self.drop: set[str] = set()
        self.wrong = False
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_DELETE(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.path, self.headers["content-type"]))
            folder, _, name = self.path.removeprefix("/").partition("/")
            id_ = unquote(name)
            self.server.asked[id_] += 1
            if id_ in self.server.lost:
                status = 500
                self.server.lost.discard(id_)
                self.server.things.discard(id_)
            elif self.server.forbidden or id_ in self.server.refused:
                status = 422
            elif folder != "things" or "/" in name or id_ not in self.server.things:
                status = 404
            else:
                status = 204
                self.server.things.discard(id_)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["content-length"])))["ids"]
        with self.server.lock:
            self.server.requests.append((self.path, self.headers["content-type"]))
            self.server.asked.update(ids)
            answers = []
            for id_ in ids:
                answer = self.server.answers.get(id_, "ok")
                if answer == "again":
                    del self.server.answers[id_]
                if answer == "ok":
                    answer = "ok" if id_ in self.server.things else "absent"
                    self.server.things.discard(id_)
                if id_ in self.server.drop:
                    self.server.drop.discard(id_)
                else:
                    answers.append({"id": id_, "is": answer})
            if self.server.wrong:
                self.server.wrong = False
                answers[0]["id"] = "a stranger"
        body = json.dumps(answers).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Bench:
    folder: Path
    server: Server

    def run(
        self, job: str, *ids: str, path: str = "things", more: tuple[object, ...] = (), confirm: int | None = None
    ) -> Ran:
        (self.folder / "export.jsonl").write_text("".join(json.dumps({"id": id_}) + "\n" for id_ in ids))
        words = (
            "run",
            job,
            "export.jsonl",
            "--host",
            self.host,
            "--rate",
            0,
            "--pool",
            "things",
            "--confirm",
            confirm or len(set(ids)),
        )
        return self.command(*words, "--json", *more, path=path)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def command(self, *words: object, path: str = "things") -> Ran:
        return bulkdel(*words, env={**importing_from(self.folder / "site"), "THINGS": path}, cwd=self.folder)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    info = tmp_path / "site" / "each-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "eachjob.py").write_text(JOB)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: each\nVersion: 1\n")
    points = "[bulkdel.jobs]\ndelete-each = eachjob:DeleteEach\ndelete-many = eachjob:DeleteMany\n"
    (info / "entry_points.txt").write_text(points)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Bench(tmp_path, server)
        server.shutdown()
        thread.join()


RUNS = "export.jsonl.runs"
RUN = f"{RUNS}/delete-each"
HOSTILE = ("../things/t1", "a/b", "%2e%2e", "a,b", 'a"b', "a?b#c", "ü", "%00")


def test_one_id_a_request(bench: Bench) -> None:
    """A 404 counts as absent, without proof; nothing can be verified."""
    bench.server.things = {*(f"t{i}" for i in range(100)), "kept"}
    ids = [*(f"t{i}" for i in range(100)), *(f"missing{i}" for i in range(10))]
    ran = bench.run("delete-each", *ids)
    assert (ran.code, ran.summary["remaining"], bench.server.things) == (0, 0, {"kept"}), ran
    assert bench.server.asked == Counter(ids)
    results = [json.loads(line) for line in bench.command("results", RUN).out.splitlines()]
    assert {row["id"] for row in results if row.get("reason") == "unproven"} == {f"missing{i}" for i in range(10)}
    verified = bench.command("verify", RUN, "--host", bench.host)
    assert (verified.code, "cannot be verified" in verified.err) == (4, True), verified


@mutant(
    "an id that a server may misread in a path is sent though nothing shows how the path is read",
    "IdStrategy.__init__",
    swap("context.look_first or bool(self.in_path)", "context.look_first"),
)
def test_without_look_ups_no_id_that_a_path_may_misread_is_sent(bench: Bench) -> None:
    bench.server.things = {"t1", *HOSTILE, "kept"}
    ran = bench.run("delete-each", "t1", *HOSTILE)
    assert (ran.code, ran.summary["done"], ran.summary["remaining"]) == (4, 1, len(HOSTILE)), ran
    assert bench.server.asked == Counter(["t1"])


@mutant(
    "a wrong path ends as a success",
    "HeldOutcomes.take",
    swap("doubtful or not self._absent_counts", "doubtful and self._absent_counts"),
)
@mutant(
    "ids that nothing has proven absent stay in doubt after the halt",
    "write_held",
    swap("part.records.ranges", "part.records.ranges[1:]"),
)
@pytest.mark.parametrize("count", [5, 100])
def test_a_wrong_path_ends_as_no_success(count: int, bench: Bench) -> None:
    """Nothing is recorded as absent, and with the right path the same ids are deleted."""
    ids = [f"t{i}" for i in range(count)]
    bench.server.things = set(ids)
    ran = bench.run("delete-each", *ids, path="thingz")
    assert (ran.code, ran.counts()) == (4, {"remaining": count}), ran
    assert "absent by the answers alone" in ran.err
    assert "--allow-absent" in ran.err
    assert sum(bench.server.asked.values()) <= 20 + 2 * 16
    log = json.loads(bench.command("status", RUN, "--json").out)
    assert log["in_doubt"] == 0
    ran = bench.run("delete-each", *ids)
    assert (ran.code, ran.summary["remaining"], bench.server.things) == (0, 0, set()), ran


def test_absent_ids_that_are_meant(bench: Bench) -> None:
    ids = [f"t{i}" for i in range(30)]
    ran = bench.run("delete-each", *ids, more=("--allow-absent",))
    assert (ran.code, ran.summary["absent"]) == (0, 30), ran


def test_more_than_half_absent_halts_later(bench: Bench) -> None:
    ids = [*(f"t{i}" for i in range(150)), *(f"m{i}" for i in range(400))]
    bench.server.things = set(ids[:150])
    ran = bench.run("delete-each", *ids, more=("--concurrency", 1))
    assert (ran.code, ran.summary["absent"]) == (4, 150), ran
    ran = bench.run("delete-each", *ids, more=("--allow-absent",))
    assert (ran.code, ran.summary["absent"], ran.summary["remaining"]) == (0, 400, 0), ran


@mutant(
    "refusals in chunks of one never halt",
    "HeldOutcomes._refused",
    swap("size(self._refused_parts)", "size(self._refused_parts[-1:])"),
)
def test_a_key_that_may_not_delete_halts(bench: Bench) -> None:
    """Ten refusals in chunks of one: none is recorded. Once the cause is gone, the same command goes on."""
    ids = [f"t{i}" for i in range(100)]
    bench.server.things, bench.server.forbidden = set(ids), True
    ran = bench.run("delete-each", *ids, more=("--concurrency", 1))
    assert (ran.code, ran.counts()) == (4, {"remaining": 100}), ran
    assert "10 ids in a row were refused with one code" in ran.err
    assert sum(bench.server.asked.values()) == 10
    bench.server.forbidden = False
    ran = bench.run("delete-each", *ids)
    assert (ran.code, ran.summary["remaining"], bench.server.things) == (0, 0, set()), ran


def test_ids_that_are_refused_for_good_can_be_left_out(bench: Bench) -> None:
    """The halt advises it: with them excluded, the run ends."""
    ids = [f"t{i}" for i in range(60)]
    bench.server.things, bench.server.refused = set(ids), set(ids[10:25])
    ran = bench.run("delete-each", *ids, more=("--concurrency", 1))
    assert (ran.code, ran.summary["refused"]) == (4, 0), ran
    assert "rows 10 to 19" in ran.err
    (bench.folder / "keep.csv").write_text("id\n" + "".join(f"{id_}\n" for id_ in ids[10:25]))
    ran = bench.run("delete-each", *ids, more=("--exclude", "keep.csv"), confirm=45)
    assert (ran.code, ran.summary["remaining"], ran.summary["excluded"]) == (0, 0, 15), ran
    assert bench.server.things == set(ids[10:25])


@pytest.mark.traced
def test_refused_after_a_lost_answer_is_unknown(bench: Bench) -> None:
    """Nothing can tell whether the first request was applied."""
    ids = [f"t{i}" for i in range(5)]
    bench.server.things, bench.server.lost = set(ids), {"t3"}
    bench.server.refused = {"t3"}
    ran = bench.run("delete-each", *ids)
    assert (ran.code, ran.summary["done"], ran.summary["unknown"]) == (1, 4, 1), ran
    results = [json.loads(line) for line in bench.command("results", RUN, "--only", "unknown").out.splitlines()]
    assert [(row["id"], row["code"]) for row in results] == [("t3", 422)]


@mutant(
    "ids that an answer settles are sent again",
    "ChunkState._answered",
    swap(
        "self._done(part, part.records, detail, takes)",
        "self.rules.chunk_refused(self, part, decision._replace(next_step=NextStep.SPLIT))",
    ),
)
def test_answers_per_id(bench: Bench) -> None:
    """Three ids of a thousand are refused, and no other id is sent twice."""
    ids = [f"t{i}" for i in range(1000)]
    bench.server.things = {*ids, "kept"}
    bench.server.answers = {"t5": "no", "t500": "no", "t999": "no"}
    ran = bench.run("delete-many", *ids)
    assert (ran.code, ran.summary["refused"], ran.summary["remaining"]) == (1, 3, 0), ran
    assert bench.server.things == {"t5", "t500", "t999", "kept"}
    assert bench.server.requests == [("/things", "application/things+json")]


def test_an_answer_that_leaves_ids_out_or_names_others(bench: Bench) -> None:
    ids = [*(f"t{i}" for i in range(500)), *HOSTILE]
    bench.server.things = {*ids, "kept"}
    bench.server.drop, bench.server.answers = {"t7", "t8"}, {"t9": "again", "t10": "again"}
    ran = bench.run("delete-many", *ids)
    assert (ran.code, ran.summary["remaining"], bench.server.things) == (0, 0, {"kept"}), ran
    again = {id_ for id_, count in bench.server.asked.items() if count > 1}
    assert again == {"t7", "t8", "t9", "t10"}
    bench.server.things, bench.server.wrong = set(ids), True
    shutil.rmtree(bench.folder / RUNS)
    ran = bench.run("delete-many", *ids)
    assert (ran.code, ran.summary["remaining"], bench.server.things) == (0, 0, set()), ran
