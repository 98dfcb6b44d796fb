"""Places that are told: a server on loopback that keeps every request, and a command that keeps what it is given."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "T0KEN-that-is-a-secret"
"""In the path and the query of every URL: it must be shown nowhere."""

STATUS = {"works": 200, "fails": 500, "refuses": 404, "redirects": 307, "hangs": 0}
"""The first part of the path: the status that is answered; 0 for no answer before the test is over."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived, whole. headers: names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True)
class Webhook:
    """The server. received: the requests, in order. over: set at the end of the test."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, does: str = "works") -> str:
        """A URL of which the server does this: a key of STATUS."""
        return f"http://localhost:{self.port}/{does}/{TOKEN}?sig={TOKEN}%2B"

    def of(self, does: str = "works") -> list[Received]:
        return [each for each in self.received if each.path.startswith(f"/{does}/")]

    def events(self, does: str = "works") -> list[str]:
        return [each.json["event"] for each in self.of(does)]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve while the block runs."""
    told = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.received.append(
                Received(
                    self.path, {name.lower(): value for name, value in self.headers.items()}, body, time.monotonic()
                )
            )
            status = STATUS[self.path.split("/")[1]]
            if status == 0:
                told.over.wait(60)
                return
            self.send_response(status)
            if status == STATUS["redirects"]:
                self.send_header("location", told.url())
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield told
        finally:
            told.over.set()
            server.shutdown()


KEEPS = f"""#!{sys.executable}
import json, os, sys
with open(sys.argv[1], "a") as file:
    print(json.dumps([dict(os.environ), json.load(sys.stdin)]), file=file)
"""


def keeping_command(folder: Path) -> tuple[str, Path]:
    """A command that adds its environment and its stdin to a file, a line each time; and the file."""
    program, kept = folder / "keep.py", folder / "kept.jsonl"
    program.write_text(KEEPS)
    program.chmod(0o700)
    return f"{program} {kept}", kept
