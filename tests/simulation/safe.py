"""What the safe bytes of the log and of the backup say, read without the program."""

from __future__ import annotations

import zlib
from pathlib import Path

import orjson

from tests.second_reader import read_skipped

SENT, SETTLED, RELEASED, STARTED = "sent", "settled", "released", "started"
FOUND = "found"
STATES = {"intent": SENT, "released": RELEASED, "outcome": SETTLED, "skipped": SETTLED, "found": FOUND}


class SafeLog:
    """The log of a run or of a verification.

    folder: where the file of the skipped rows lies, or the store with them; None for a log that has none.
    rows: the state of each row. kinds: the outcome or finding of each row that has one. pids: of the processes that
    have begun a session, in their order.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._read = 0
        self.rows: dict[int, str] = {}
        self.kinds: dict[int, str] = {}
        self.pids: list[int] = []

    def follow(self, data: bytes) -> list[tuple[str, list[int]]]:
        """Read what has become safe since. Returns the new entries: state or outcome, and the rows."""
        found: list[tuple[str, list[int]]] = []
        while (end := data.find(b"\n", self._read) + 1) > 0:
            for entry in orjson.loads(data[self._read : end])["entries"]:
                if sha256 := entry.get("skipped_sha256"):
                    self._skip(sha256)
                if entry.get("event") == "start":
                    self.pids.append(entry.get("pid", 0))
                    found.append((STARTED, []))
                if (state := STATES.get(entry["type"])) is not None:
                    rows = [row for start, stop in entry["ranges"] for row in range(start, stop)]
                    self.rows.update(dict.fromkeys(rows, state))
                    kind = entry.get("kind") or entry.get("finding") or entry.get("reason") or state
                    if state in (SETTLED, FOUND):
                        self.kinds.update(dict.fromkeys(rows, kind))
                    found.append((kind, rows))
            self._read = end
        return found

    def _skip(self, sha256: str) -> None:
        """Take in the skipped rows. They have to be there when the header is safe."""
        assert self._folder is not None
        (path,) = (*self._folder.rglob("skipped.zst"), *self._folder.rglob(f"skipped/{sha256}/*"))
        for kind, rows in read_skipped(path.read_bytes()).items():
            self.rows.update(dict.fromkeys(rows, SETTLED))
            self.kinds.update(dict.fromkeys(rows, kind))


class SafeCopies:
    """The backup. users: whose copies are in it."""

    def __init__(self, *, packed: bool) -> None:
        self._packed = packed
        self.users: set[str] = set()

    def read(self, data: bytes) -> None:
        """Read the file from its beginning. Nothing after a torn member or line counts."""
        for line in (_unpacked(data) if self._packed else data).splitlines(keepends=True):
            if not line.endswith(b"}\n"):
                break
            self.users.add(orjson.loads(line)["userId"])


def _unpacked(data: bytes) -> bytes:
    found = b""
    while data:
        member = zlib.decompressobj(31)
        try:
            piece = member.decompress(data)
        except zlib.error:
            break
        if not member.eof:
            break
        found, data = found + piece, member.unused_data
    return found
