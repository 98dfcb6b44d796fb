"""How a run goes on whose files were moved or copied to another folder: its command, with the files that lie there.

The log has the command and the folder of its last session. Where this log is another file than that session's, both are
those of another place, perhaps of another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine, how_to_resume
from bulkdel.core.address import address_of
from bulkdel.core.run_state import Progress
from bulkdel.export.spool import SPOOLED
from bulkdel.format import printable
from bulkdel.safety.run_plan import CONFIRMING
from bulkdel.settings import LOG, SANDBOX_LOG
from bulkdel.store_path import StorePath, beside

FILES = ("--exclude", "--config", "--ca-file", "--backup")
"""The options of `run` that name a file."""


def how_to_go_on(progress: Progress, log: Path) -> str:
    """The command that resumes the run, in the folder of its log; see `how_to_resume`. log: where it is."""
    start, undo = progress.start, progress.undo
    if isinstance(log, StorePath) or start is None or undo is not None or progress.handed_over is not None:
        return how_to_resume(progress, log)
    facts = progress.stop.facts if progress.stop is not None else {}
    try:
        line = CommandLine.read(facts.get("to_go_on") or start.facts.get("to_go_on") or ())
    except ValueError:
        return how_to_resume(progress, log)
    if _is_file(_log_of(line, start.facts), log):
        return how_to_resume(progress, log)
    folder = log.absolute().parent
    line, missing = _in_folder(line, log, folder)
    text = how_to_resume(progress, log, (line.words, printable(folder)))
    if missing:
        text += f"\nNot in that folder, and needed there: {', '.join(missing)}"
    return text


def _log_of(line: CommandLine, facts: Mapping[str, Any]) -> Path:
    """Where the log of the last session was."""
    default = f"{line.names[-1]}{SANDBOX_LOG if '--sandbox' in line.options else LOG}"
    return Path(str(facts.get("cwd", "")), next(iter(line.options.get("--checkpoint", ())), default))


def _is_file(path: Path, log: Path) -> bool:
    try:
        return path.samefile(log)
    except OSError:
        return False


def _in_folder(line: CommandLine, log: Path, folder: Path) -> tuple[CommandLine, list[str]]:
    """The command with the names of its files in this folder, and the names of those that are not there."""
    missing: list[str] = []

    def here(value: str) -> str:
        if address_of(value) is not None:
            return value
        name = Path(value).name
        if not (folder / name).exists():
            missing.append(name)
        return name

    copy = beside(log, SPOOLED)
    export = copy.name if copy.exists() else here(line.names[-1])
    options = {
        option: tuple(map(here, values)) if option in FILES else values
        for option, values in line.without(*CONFIRMING, "--checkpoint").options.items()
    }
    line = replace(line, names=(*line.names[:-1], export), options=options)
    default = f"{export}{SANDBOX_LOG if '--sandbox' in options else LOG}"
    return line if log.name == default else line.plus("--checkpoint", log.name), missing
