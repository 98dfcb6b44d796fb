"""Runs the commands that are compared, one at a time, and says what each cost. Knows nothing of rounds and tables."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.bench.exports import Made
from tests.bench.stub import POOL
from tests.launching import launched, took

ENVIRON = {"GENAUTH_ACCESS_KEY_ID": "key", "GENAUTH_ACCESS_KEY_SECRET": "secret"}


@dataclass(frozen=True)
class Cost:
    """What one process took. sending_s: its own count of the seconds that the requests took, where it has one."""

    wall_s: float
    cpu_s: float
    peak_kib: int
    sending_s: float = 0.0
    first_s: float = 0.0
    out: str = ""


def measured(words: list[str], environ: Mapping[str, str] | None = None, *, bar: bool = False) -> Cost:
    """Run one command. bar: give it a terminal for its stderr, so that it draws its progress bar."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKDEL_", "GENAUTH_"))}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "took.json"
        master, slave = pty.openpty() if bar else (-1, -1)
        process = subprocess.Popen(
            launched(words, report),
            env={**kept, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=slave if bar else None,
        )
        if bar:
            os.close(slave)
            threading.Thread(target=_swallow, args=(master,), daemon=True).start()
        process.wait()
        out.seek(0)
        said = out.read().decode()
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)}: exit {process.returncode}\n{said}")
        return Cost(*took(report), out=said)


def _swallow(master: int) -> None:
    with suppress(OSError):  # Linux says so when no process writes any more
        while os.read(master, 1 << 16):
            pass
    os.close(master)


def bare(url: str, requests: int, concurrency: int, rate: float = 0.0) -> Cost:
    """The bare loop."""
    words = [*_module("tests.bench.bare"), url, str(requests), str(concurrency)]
    return _timed([*words, "--rate", str(rate)])


def sdk(url: str, requests: int, threads: int) -> Cost:
    """The vendor's SDK."""
    return _timed([*_module("tests.bench.sdk"), url, str(requests), str(threads)])


def _timed(words: list[str]) -> Cost:
    cost = measured(words)
    return Cost(cost.wall_s, cost.cpu_s, cost.peak_kib, sending_s=float(cost.out))


def run_words(url: str, export: Made, place: Path, *options: object) -> list[str]:
    """The real command. place: of the run."""
    confirmed = ["--confirm", str(export.count), "--pool", POOL, "--allow-absent", "--json"]
    words = ["run", "delete-users", str(export.path), "--host", url, "--run", str(place), *confirmed]
    return [*_module("bulkdel"), *words, *map(str, options)]


def ours(url: str, export: Made, *options: object, place: Path | None = None, new: bool = True) -> Cost:
    """The real command with all that it always does. place: of the run. new: whether it begins anew there.

    first_s: from its start to the first intent of this session, which is written just before the first deletion.
    """
    place = place or Path(f"{export.path}.run")
    if new:
        shutil.rmtree(place, ignore_errors=True)
    begun = time.time()
    cost = measured(run_words(url, export, place, *options), ENVIRON, bar=True)
    summary = json.loads(cost.out.splitlines()[-1])
    if summary["status"] != "complete" or summary["deleted"] != export.count:
        raise RuntimeError(f"not what was expected of a run: {summary}")
    first_s = _first_intent(place / "log.jsonl") - begun
    return Cost(cost.wall_s, cost.cpu_s, cost.peak_kib, sending_s=summary["duration_s"], first_s=first_s)


def _first_intent(log: Path) -> float:
    """When the latest session wrote its first intent."""
    first = 0.0
    with log.open("rb") as file:
        for line in file:
            if b'"event":"start"' in line:
                first = 0.0
            if not first and (at := line.find(b'{"type":"intent","at":"')) >= 0:
                first = datetime.fromisoformat(line[at + 23 : at + 47].decode()).timestamp()
    return first


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
