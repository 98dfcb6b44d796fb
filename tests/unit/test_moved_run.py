"""A log with the manifest of a hand-over beside it: `status` uses the manifest of `unpack`, and no other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.reader import read_log
from bulkdel.commands.moved_run import how_to_go_on, line_in
from bulkdel.core.handover import MANIFEST, MANIFEST_MAX, GoingOn, Manifest, PackedFile
from bulkdel.core.log_entries import Session
from bulkdel.place.opening import log_at
from tests import recorded
from tests.mutants import mutant
from tests.syntax import swap

HOST = "https://api.example"
LOG = "run/log.jsonl"
WORDS = ["bulkdel", "run", "delete-users", "users.jsonl", "--rate", "7"]


def unpacked(folder: Path) -> None:
    """A folder as `unpack` makes it."""
    header = recorded.header(100)
    pinned = {**header.pinned, "job": "delete-users", "host": HOST, "pool": "p"}
    header = replace(header, pinned=pinned, export_path="users.jsonl", shards=())
    begun = Session(
        "start",
        "2026-01-01T00:00:00.000Z",
        "",
        {"cwd": "/other", "run": "/other/users.jsonl.runs/delete-users", "to_go_on": WORDS},
    )
    files = {
        LOG: b"".join(recorded.lines_of([[header], [begun]])),
        "users.jsonl": b'{"id": "a"}\n',
        "c.toml": b"[genauth]\nlang = 'de'\n",
    }
    (folder / "run").mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    options = {"--run": ("run",), "--config": ("c.toml",), "--rate": ("5",), "--host": (HOST,)}
    packed = tuple(PackedFile(name, "", len(data), sha256_of(data)) for name, data in files.items())
    going_on = GoingOn("run", ("delete-users", "users.jsonl"), options)
    texts = ("bulkdel", "word", "at", "user", "machine", header.run_id, "delete-users", HOST, "p")
    made = Manifest(*texts, 100, "c.toml", {}, packed, going_on)
    (folder / MANIFEST).write_bytes(made.to_bytes())


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def told(folder: Path) -> str:
    return how_to_go_on(read_log(log_at(folder / LOG)).progress, folder / "run", None)


def with_values(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    change(values)
    (folder / MANIFEST).write_text(json.dumps(values))


def with_config(folder: Path, data: bytes, *, known: bool) -> None:
    """Another config. known: the manifest has its SHA-256."""
    (folder / "c.toml").write_bytes(data)
    if known:
        with_values(folder, lambda found: found["files"][2].update(size=len(data), sha256=sha256_of(data)))


def as_a_pipe(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


def as_a_link(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "there")
    (folder / name).symlink_to(folder / "there")


def as_a_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def without_log(folder: Path) -> None:
    """The archive had no log."""
    with_values(folder, lambda found: found["files"].pop(0))


def test_the_manifest_of_an_unpacked_run_has_its_command_and_the_host_is_typed(tmp_path: Path) -> None:
    unpacked(tmp_path)
    command = "bulkdel run delete-users users.jsonl --run run --config c.toml --rate 5"
    lacks = "The command lacks what only the log of the run names. Add what is meant: "
    assert told(tmp_path) == f"To go on, in {tmp_path}:\n  {command}\n{lacks}--host {HOST}"


@mutant(
    "the command that unpack prints has the host of the packed config",
    "line_in",
    swap("manifest.host == SANDBOX", "manifest.host != SANDBOX"),
)
@pytest.mark.parametrize("options", [{}, {"--host": (HOST,)}])
def test_the_command_of_unpack_names_the_host(tmp_path: Path, options: dict[str, tuple[str, ...]]) -> None:
    """Whatever the config and the variables of the user say."""
    unpacked(tmp_path)
    manifest = Manifest.of((tmp_path / MANIFEST).read_bytes())
    going_on = GoingOn("run", ("delete-users", "users.jsonl"), {"--run": ("run",), **options})
    line, passed = line_in(Path("new"), manifest, going_on, datetime(2026, 1, 1, tzinfo=UTC))
    assert (str(line), passed) == (f"bulkdel run delete-users new/users.jsonl --run new/run --host {HOST}", None)


FORGED: dict[str, Callable[[Path], object]] = {
    "a config with a command": lambda at: with_config(at, b"[run]\non_event = 'touch x'\n", known=True),
    "a config with a host": lambda at: with_config(at, b"[genauth]\nhost = 'https://x.example'\n", known=True),
    "a config with other bytes": lambda at: with_config(at, b"[genauth]\nlang = 'en'\n", known=False),
    "a config with other bytes of its size": lambda at: with_config(at, b"[genauth]\nlang = 'en'\n"[:22], known=False),
    "a config that is no TOML": lambda at: with_config(at, b"[", known=True),
    "another host": lambda at: with_values(at, lambda found: found.update(host="https://x.example")),
    "another run": lambda at: with_values(at, lambda found: found.update(run_id="other")),
    "another pool": lambda at: with_values(at, lambda found: found.update(pool="other")),
    "no log": without_log,
    "another number that remains": lambda at: with_values(at, lambda found: found.update(remaining=99)),
    "an option of no list": lambda at: with_values(at, lambda found: found["going_on"]["options"].update({"--on": []})),
    "a job that is not installed": lambda at: with_values(at, lambda found: found.update(job="none")),
    "a file that is gone": lambda at: (at / "users.jsonl").unlink(),
    "an export that is a pipe": lambda at: as_a_pipe(at, "users.jsonl"),
    "an export that is a link": lambda at: as_a_link(at, "users.jsonl"),
    "a manifest that is a pipe": lambda at: as_a_pipe(at, MANIFEST),
    "a manifest that is a link": lambda at: as_a_link(at, MANIFEST),
    "a manifest that is a folder": lambda at: as_a_folder(at, MANIFEST),
    "a manifest that is too large": lambda at: (at / MANIFEST).write_bytes(
        (at / MANIFEST).read_bytes() + b" " * MANIFEST_MAX
    ),
}


@mutant(
    "status takes a manifest whose files were not compared",
    "_are_packed",
    swap(
        'hashlib.file_digest(file, "sha256").hexdigest() != packed.sha256',
        'len(hashlib.file_digest(file, "sha256").hexdigest()) != len(packed.sha256)',
    ),
)
@pytest.mark.parametrize("name", FORGED)
def test_a_manifest_that_no_unpack_has_made_is_not_used(tmp_path: Path, name: str) -> None:
    """Then the command is that of the log."""
    unpacked(tmp_path)
    FORGED[name](tmp_path)
    assert f"To go on, in {tmp_path}:\n  bulkdel run delete-users users.jsonl --rate 7 --run run" in told(tmp_path)
