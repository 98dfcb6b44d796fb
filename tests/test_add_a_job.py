"""The job in the README, exactly as it stands there: installed beside bulkdel, it runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness import Ran, bulkdel

README = Path(__file__).parent.parent / "README.md"
KEY = "k-12345678"


def blocks() -> tuple[str, str]:
    """The Python of the example, and its entry point."""
    text = README.read_text().partition("<!-- tests/test_add_a_job.py")[2]
    found = re.search(r"```python\n(.*?)```.*?```toml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


class Server(ThreadingHTTPServer):
    """The imaginary API. It refuses every request with `bad` in it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.things: set[str] = set()
        self.deletions: list[int] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        asked = query.get("id", sorted(self.server.things)[: len(query.get("first", []))])
        self.answer(200, [{"id": id_} for id_ in asked if id_ in self.server.things])

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["content-length"])))["ids"]
        if "bad" in ids:
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


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder as `pip install` would leave it."""
    python, entry_point = blocks()
    (tmp_path / "things.py").write_text(python)
    info = tmp_path / "things-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: things\nVersion: 1.0\n")
    named = re.search(r'"(bulkdel\.jobs)"\]\n(\S+) = "(\S+)"', entry_point)
    assert named is not None
    (info / "entry_points.txt").write_text(f"[{named[1]}]\n{named[2]} = {named[3]}\n")
    return tmp_path


def run(installed: Path, *args: object, key: str | None = KEY) -> Ran:
    env = {"PYTHONPATH": str(installed), **({} if key is None else {"THINGS_KEY": key})}
    return bulkdel(*args, env=env, cwd=installed)


def test_the_example_runs(installed: Path, server: Server) -> None:
    ids = [*(f"t{n}" for n in range(249)), "bad"]
    server.things = set(ids)
    (installed / "export.csv").write_text("".join(f"{id_}\n" for id_ in ["id", *ids]))
    args = ("delete-things", "export.csv", "--host", f"http://127.0.0.1:{server.server_port}", "--rate", 0)
    assert "delete-things" in run(installed, "jobs").out
    plan = run(installed, "plan", *args)
    assert plan.code == 0, plan
    assert "200 of 200 looked up exist" in plan.out
    assert not server.deletions
    ran = run(installed, "run", *args, "--confirm", 250, "--pool", "things", "--json")
    assert (ran.code, ran.counts()) == (1, {"deleted": 249, "refused": 1}), ran
    assert server.things == {"bad"}
    assert max(server.deletions) == 100


def test_the_example_says_what_is_missing(installed: Path, server: Server) -> None:
    (installed / "export.csv").write_text("id\nt1\n")
    args = ("plan", "delete-things", "export.csv", "--host", f"http://127.0.0.1:{server.server_port}")
    assert "not signed in" in run(installed, *args, key=None).out
    assert run(installed, *args, key="wrong").code == 4
    assert "has no sandbox" in run(installed, *args, "--sandbox").err
