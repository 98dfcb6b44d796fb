"""Places that are told: a server on loopback that keeps every request, and a command that keeps what it is given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.restserver import HANGS, Answer, Api, Asked, served

TOKEN = "T0KEN-that-is-a-secret"
"""In the path and the query of every URL: it must be shown nowhere."""

STATUS = {"works": 200, "fails": 500, "refuses": 404, "redirects": 307, "hangs": 0}
"""The first part of the path: the status that is answered; 0 for no answer before the test is over."""


class Places(Api):
    """Answers as the first part of the path says. A redirect leads to the place that works."""

    def answer(self, asked: Asked) -> Answer:
        status = STATUS[asked.path[0]]
        location = {"location": f"{self.url}/works/{TOKEN}"} if status == STATUS["redirects"] else {}
        return (status, None, location) if status else HANGS


@dataclass(frozen=True, slots=True)
class Webhook:
    """The server. received: the requests, in order."""

    port: int
    received: list[Asked]

    def url(self, does: str = "works") -> str:
        """A URL of which the server does this: a key of STATUS."""
        return f"http://localhost:{self.port}/{does}/{TOKEN}?sig={TOKEN}%2B"

    def of(self, does: str = "works") -> list[Asked]:
        return [each for each in self.received if each.path[0] == does]

    def events(self, does: str = "works") -> list[str]:
        return [each.json["event"] for each in self.of(does)]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve while the block runs."""
    with served(Places()) as places:
        yield Webhook(urlsplit(places.url).port or 0, places.asked)


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
