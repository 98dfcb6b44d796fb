"""Which run a command means: the place itself, its log, the export beside it, or a folder with runs. Reads no log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.output import say
from bulkdel.place.log_file import LogFile
from bulkdel.run_place import LOG, OF_SANDBOX, RUNS, number_of_restore
from bulkdel.store_path import in_store

RUNS_MAX = 5
"""Runs that are named where one has to be chosen."""


def find_run(path: Path) -> Path:
    """The place of the run that `path` means: this one, that of this log, or one beside the export `path`.

    A folder means the one run that is in it or of an export in it. Of several runs the one without --sandbox is meant.
    Raises NotAcceptable when there is none, or when one of several has to be named.
    """
    runs = find_runs([path])
    if len(runs) > 1:
        raise NotAcceptable(f"{path}: has several runs. Name one of them: {', '.join(map(str, runs[:RUNS_MAX]))}")
    return runs[0]


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The places of all runs that these paths mean, each once: a folder or an export means every run of it.

    If one run was found near a path, it is printed. Those with --sandbox are meant only where there is no other. Raises
    UsageError without a path, and NotAcceptable for one that means none.
    """
    if not paths:
        raise UsageError("name a run, or its export, or a folder with runs")
    found: dict[str, Path] = {}
    for path in map(_without_log, paths):
        runs, others = _meant(path)
        if not runs:
            raise NotAcceptable(_no_run(path))
        if len(runs) == 1 and _run_at(path) is None:
            say(f"The run of {path} is {runs[0]}{f' (there is also {others[0]})' if others else ''}.")
        found.update((run.as_posix() if in_store(run) else os.path.realpath(run), run) for run in runs)
    return list(found.values())


def _no_run(path: Path) -> str:
    if path.is_dir():
        return f"{path}: is a folder without a run"
    if os.path.lexists(path):
        return f"{path}: no run of this export has begun: none is in {path}{RUNS}. It is not the place of a run either"
    return f"{path}: there is no such run. If it is the name of an export, no run of it has begun"


def run_of(path: Path) -> Path | None:
    """The place of the run that `path` means, as `find_run` finds it, without a word; None when it is not clear."""
    runs, _ = _meant(_without_log(path))
    return runs[0] if len(runs) == 1 else None


def _meant(path: Path) -> tuple[list[Path], list[Path]]:
    """The runs that a path means, and those near it that it does not mean."""
    if (at := _run_at(path)) is not None:
        return [at], []
    near = _runs_near(path)
    runs = _without_sandbox(near)
    return runs, [run for run in near if run not in runs]


def _runs_near(path: Path) -> list[Path]:
    """The places of the runs of this export, of those in this folder, and of the exports in it."""
    folders = (Path(f"{path}{RUNS}"), path, *sorted(path.glob(f"*{RUNS}")))
    return [run for folder in folders for run in runs_in(folder)]


def _without_sandbox(runs: list[Path]) -> list[Path]:
    """Those without --sandbox; all of them where there is no other."""
    return [run for run in runs if not run.name.endswith(OF_SANDBOX)] or runs


def _without_log(path: Path) -> Path:
    """The place of this log, where a log is named; else what is named."""
    return path.parent if path.name == LOG and not in_store(path) and not path.is_dir() else path


def _run_at(path: Path) -> Path | None:
    """The place of a run; None for anything else."""
    if in_store(path):
        return path
    path = path if path.name not in {"", ".."} else Path(os.path.realpath(path))  # a name to print
    return path if os.path.lexists(path / LOG) or LogFile(path).shard_log() is not None else None


def runs_in(folder: Path) -> list[Path]:
    """The places of runs that are folders in this one, by name. That of a restore is found only by its own name."""
    try:
        places = (path for path in folder.iterdir() if path.is_dir() and number_of_restore(path.name) is None)
        return sorted(path for path in places if _run_at(path) is not None)
    except OSError:
        return []
