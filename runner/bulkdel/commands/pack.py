"""`bulkdel pack`: everything that belongs to a run, in one file, for another machine or another user.

find the files → lock the logs → hash every file → write the archive → note the hand-over in the log → name the archive

The note comes before the name: a run that has left in an archive is never resumed from the log that it left.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bulkdel.checkpoint.annotation import annotating
from bulkdel.checkpoint.takeover import is_locked, locked, writer_words
from bulkdel.command_line import CommandLine
from bulkdel.commands.pack_contents import Contents, contents_of
from bulkdel.commands.run_files import RunFiles, files_of
from bulkdel.commands.steps import ByteCount, run_step
from bulkdel.core.handover import Manifest, PackedFile
from bulkdel.core.log_entries import stamp
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_numbers
from bulkdel.durable import atomic_file, remove_parts, sync
from bulkdel.engine.session_entries import process_facts
from bulkdel.engine.signals import Signals
from bulkdel.errors import FileFailed, NotAcceptable, UsageError
from bulkdel.format import amount, counted, printable
from bulkdel.going_on import how_to_go_on_restoring, how_to_take_back, is_of_restore, to_pack
from bulkdel.handover.writing import ENDINGS, measured, write
from bulkdel.output import result, say
from bulkdel.place.finding import find_run
from bulkdel.place.log_place import LogPlace
from bulkdel.place.opening import WRITING, log_place
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.settings import CommonSettings
from bulkdel.store_path import StorePath, in_store


@dataclass(frozen=True, slots=True)
class PackArguments:
    """The arguments of one `bulkdel pack`.

    moved: files that are not where the log says. config: where the config file is now. again: the run was handed over
    already, and the archive is lost.
    """

    run: Path
    out: Path
    moved: Sequence[Path] = ()
    config: Path | None = None
    again: bool = False


def pack(arguments: PackArguments) -> int:
    """Pack a run. Returns the exit code.

    Raises NotAcceptable for a run that is under way, or of which a file is missing, and FileFailed.
    """
    out = arguments.out
    if not out.name.endswith(ENDINGS) or out.name in ENDINGS:
        raise UsageError(f"--out {out}: end its name with {' or '.join(ENDINGS)}")
    run = find_run(arguments.run)
    if os.path.lexists(out):
        raise NotAcceptable(f"{out}: is there already. Nothing was packed. Name a new file: --out FILE")
    place = log_place(run)
    if is_locked(place):
        raise NotAcceptable(
            f"{run}: a {writer_words(place)} is under way. Nothing was packed. To stop it:\n"
            f"  {CommandLine('ctl', (str(run), 'stop'))}\nWhen it has ended, pack it."
        )
    progress = ReadingProgress()
    with Signals() as signals:
        made = run_step(lambda: _pack(arguments, run, progress), progress, CommonSettings(), signals)
    _print_end(out, run, made)
    return 0


@dataclass(frozen=True, slots=True)
class _Made:
    """An archive that was made. sha256: of it. size: bytes."""

    manifest: Manifest
    contents: Contents
    sha256: str
    size: int


def _pack(arguments: PackArguments, run: Path, progress: ReadingProgress) -> _Made:
    """Do it. Blocks."""
    progress.note("finding the files of the run")
    runs = files_of(run)
    _check_run(runs[0].progress, run, arguments)
    contents = contents_of(runs, arguments.moved, arguments.config)
    with ExitStack() as stack:
        annotator = stack.enter_context(annotating(log_place(run, WRITING)))
        if annotator.sha256 != runs[0].sha256:
            raise NotAcceptable(f"{run}: has changed meanwhile. Nothing was packed. Run the same command again.")
        for other in _other_logs(runs):
            stack.enter_context(locked(other))
        remove_parts(arguments.out)  # of a process that was killed
        done = ByteCount(progress, "hashing the files of the run")
        files = tuple(measured(source, done.add) for source in contents.sources)
        manifest = _manifest(contents, files)
        done = ByteCount(progress, "packing the files of the run", manifest.size)
        noted = False
        try:
            with atomic_file(arguments.out, lambda _new, _old: False) as file:
                sha256 = write(file, arguments.out.name, manifest, list(contents.sources), done.add)
                file.flush()
                sync(file.fileno())
                size = file.tell()
                if contents.goes_on:
                    archive = printable(arguments.out.absolute())
                    facts = {**process_facts(os.getpid()), "archive": archive, "handover": manifest.handover}
                    annotator.add("handover", facts, stamp(time.time()))
                    noted = True
        except OSError as error:
            again = ", with --again: the log has the hand-over already" if noted else ""
            raise FileFailed(
                f"{arguments.out}: cannot be written: {error.strerror}. Nothing was packed. Make room, or name another "
                f"file (--out FILE), and run the same command again{again}."
            ) from error
    return _Made(manifest, contents, sha256, size)


def _check_run(progress: RunState, run: Path, arguments: PackArguments) -> None:
    """Refuse a run that is not handed over, or not once more. Raises NotAcceptable, and UsageError for --again."""
    if is_of_restore(progress):  # without its run no archive of it goes on
        line = to_pack(progress, run)
        how = f"It is packed with its run:\n  {line.plus('--out', arguments.out)}" if line else "Pack its run."
        raise NotAcceptable(f"{run}: is a restore. Nothing was packed. {how}")
    for number, noted in progress.restores.items():
        if noted.facts.get("only") and not noted.is_restored:  # both machines could go on with it
            how = how_to_go_on_restoring(progress, noted, run)
            raise NotAcceptable(f"{run}: restore-{number} has not ended. Nothing was packed. End it first.\n{how}")
    packed = progress.handed_over
    if packed is not None and not arguments.again:
        raise NotAcceptable(f"{run}: nothing was packed. {how_to_take_back(packed, run)}")
    if packed is None and arguments.again:
        raise UsageError("--again: this run was not handed over yet. Leave it out")


def _other_logs(runs: Sequence[RunFiles]) -> list[LogPlace]:
    """The logs of the shards and of the restore: no process may write them meanwhile."""
    files = [run for run in runs if not in_store(run.place)]
    shards = [log_place(run.place).shard(number) for run in files for number in shard_numbers(run.progress.header)]
    return [*(log_place(run.place) for run in runs[1:]), *(shard for shard in shards if shard.is_there())]


def _manifest(contents: Contents, files: tuple[PackedFile, ...]) -> Manifest:
    by = process_facts(os.getpid())
    at = stamp(time.time())
    return Manifest(by["tool"], secrets.token_hex(8), at, by["user"], by["machine"], contents.options, files)


def _print_end(out: Path, run: Path, made: _Made) -> None:
    manifest = made.manifest
    result(f"{out}: {counted(len(manifest.files), 'file')}, {amount(manifest.size)}, packed in {amount(made.size)}")
    for file in manifest.files:
        result(f"  {file.name}, {file.what}, {file.size:,} bytes")
    for note in made.contents.notes:
        result(f"  not in it: {note}")
    result(f"sha256 {made.sha256}")
    say("It holds personal data, and no secret. Copy it to the other machine. There:")
    say(f"  {CommandLine('unpack', (out.name,))}", "to_unpack")
    if not made.contents.goes_on:
        return
    say(f"From now on {run} is not resumed: the run goes on where the archive is unpacked, on one machine.")
    if isinstance(run, StorePath):
        say("The archive holds what is in the store. There it becomes files.")
    say(f"To remove what it holds of personal data here, once it is unpacked:\n  {CommandLine('forget', (str(run),))}")
