"""The command that goes on with a run or a restore, as its log has it, and what to do where none does.

Another person may have written the log: then its words name no host, no address and no file elsewhere.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bulkdel.command_line import AS_CONFIRMED, TO_TYPE, CommandLine
from bulkdel.core.address import address_of, holds_secret
from bulkdel.core.log_entries import Annotation, Header
from bulkdel.core.mac import mac_holds
from bulkdel.core.option import option_of
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import names_engine
from bulkdel.format import counted, printable, shown
from bulkdel.options import COMPARED, FILES, FLAGS_OF_LOG, FROM_LOG, NOT_ASKED, OF_WHICH_RUN, ONLY_FOUND
from bulkdel.parameters import options_of_run
from bulkdel.run_place import default_place, home_of, is_same, is_within, own_file, undone_by
from bulkdel.store_path import StorePath, in_store, is_store_url, path_or_url

GOING_ON = frozenset({"run", "plan", "restore"})
"""The commands that go on with a run."""

RUN_AGAIN = "To go on, run the command of this run again."
"""The message when a log has no command that goes on with its run."""


@dataclass(frozen=True, slots=True)
class NextCommand:
    """The command that goes on with a run. folder: from which its names lead; empty where the log does not say it.

    left_out: the line that names what the command lacks.
    """

    line: CommandLine
    folder: str
    left_out: str = ""


def how_to_go_on(progress: RunState, run: Path, own_key: bytes | None) -> str:
    """What resumes the run, where it is now, in words. run: its place."""
    found = next_or_why(progress, run, own_key)
    if isinstance(found, str):
        return found
    if found.line.command != "restore" and has_moved(progress, run):
        found = replace(found, line=CommandLine("resume", (str(run),)), folder="")
    return how_to_resume(progress, found)


def next_or_why(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand | str:
    """The command that resumes the run, or why none does and what to do."""
    try:
        found = next_command(progress, run, own_key)
    except ValueError:
        found = None
    if found is not None and progress.handed_over is None and found.line.command == "restore":
        return found
    return why_not_resumed(progress, run) or found or RUN_AGAIN


def without_reading(line: CommandLine, header: Header) -> CommandLine:
    """The command that goes on with the rows that were confirmed, where it could not read the export once more.

    header: of the run. A pipe can be read only once, and no command has a signature.
    """
    was_piped = not header.export_state and not header.export_object
    once = line.command == "run" and (was_piped or holds_secret(header.export_path))
    return line.plus(AS_CONFIRMED) if once else line


def next_command(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand:
    """The command that resumes the run where it is now, as the stopped session would print it.

    run: its place. own_key: of this user, if there is one. Raises ValueError where the log has no command that goes on
    with this run.
    """
    header, facts, more = progress.header, progress.start.facts if progress.start is not None else {}, ""
    folder, moved = str(facts.get("cwd", "")), has_moved(progress, run)
    line, left_out = line_of_log(words_of(progress, own_key), run, header.pinned["job"], typed_words(progress, own_key))
    if not _is_typed(line, progress, own_key) or (moved and line.command == "restore"):
        line, more = _of_this_run(line, progress, run, None if moved else folder)
    if moved:
        folder = printable(_folder_of(run.absolute(), facts))
        if not line.names:  # an approved plan has them
            line = replace(line, names=(header.pinned["job"], header.export_path))
    return NextCommand(without_reading(line, header), folder, left_out + more)


def has_moved(progress: RunState, run: Path) -> bool:
    """Whether the place is another folder than that of the last session: moved, copied or unpacked."""
    start = progress.start
    was = run if start is None else Path(str(start.facts.get("run", run)))
    return not (isinstance(run, StorePath) or is_same(was, run))


def _folder_of(run: Path, facts: Mapping[str, Any]) -> Path:
    """The folder that has the part of that of the last session. facts: of its start.

    It is the one from which the place has the same name as then, where the whole folder was moved.
    """
    was, cwd = Path(str(facts.get("run", ""))), Path(str(facts.get("cwd", "")))
    if was.is_relative_to(cwd) and run.parts[-len(named := was.relative_to(cwd).parts) :] == named:
        return run.parents[len(named) - 1]
    return home_of(run)


def why_not_resumed(progress: RunState, run: Path) -> str:
    """Why a run is not resumed from this log, and what goes on with it; empty where it is. See `next_command`."""
    if (packed := progress.handed_over) is not None:
        return f"It is not resumed from this log. {how_to_take_back(packed, run)}"
    if (undo := progress.undo) is not None:
        so = "" if progress.complete else ", so the run is not resumed"
        return f"A restore of this run has begun{so}.\n{how_to_restore(progress, undo, run)}"
    return ""


def how_to_resume(progress: RunState, found: NextCommand) -> str:
    """The command in words; or the ways to settle rows in doubt, where it alone does not."""
    where = f", in {shown(found.folder)}" if found.folder else ""
    if blind(progress):
        text = how_to_settle_doubts(progress, found.line.words, where)
    else:
        again = ", with a new confirmation" if progress.stop and progress.stop.facts.get("not_after") else ""
        text = f"To go on{again}{where}:\n  {found.line}"
    return f"{text}{found.left_out}"


def words_of(progress: RunState, own_key: bytes | None) -> Any:
    """The words of the command that goes on: those of the last stop, or else of its start. None without any.

    Where a MAC shows that this user has written the start, and none that it has written the stop, those of the start.
    """
    start, stop = progress.start, progress.stop
    words = start.facts.get("to_go_on") if start is not None else None
    if stop is None or (mac_holds(start, own_key) and not mac_holds(stop, own_key)):
        return words
    return stop.facts.get("to_go_on") or words


def typed_words(progress: RunState, own_key: bytes | None) -> frozenset[str]:
    """The words that this user has typed, as the start of the last session proves. own_key: as in `next_command`."""
    start = progress.start
    words = start.facts.get("to_go_on") if start and mac_holds(start, own_key) else None
    return frozenset(words or ())


def _is_typed(line: CommandLine, progress: RunState, own_key: bytes | None) -> bool:
    """Whether this user has typed with which run the command goes on, as the start of the last session proves."""
    start = progress.start
    if start is None or not mac_holds(start, own_key):
        return False
    begun = CommandLine.read(start.facts.get("to_go_on", ()))
    same = all(line.options.get(each) == begun.options.get(each) for each in map(option_of, OF_WHICH_RUN))
    return same and (line.command, line.names) == (begun.command, begun.names)


def _of_this_run(line: CommandLine, progress: RunState, run: Path, folder: object) -> tuple[CommandLine, str]:
    """A command that another person may have written, so that it goes on with the run of this log and no other.

    folder: where it was typed; None where the place has moved since. Returns also the line that names what the command
    lacks. Raises ValueError for a command that goes on with another run.
    """
    if line.command == "restore":
        undone = undone_by(run.absolute())
        if undone is None:
            raise ValueError("the restore of another run")
        if folder is None:
            return _of_restore(line, run, home_of(undone), (str(undone),))
        names = [Path(str(folder), name) for name in line.names]
        if any(os.path.realpath(name) != os.path.realpath(undone) for name in names):
            raise ValueError("the restore of another run")
        return _of_restore(line, run, folder, tuple(map(str, names)))
    job, *exports = line.names or (progress.header.pinned["job"], "")  # a plan has them
    if job != progress.header.pinned["job"] or len(exports) != 1 or not (line.names or "--plan" in line.options):
        raise ValueError("another job")
    if folder is None:
        return line, ""
    default = default_place(job, exports[0], sandbox="--sandbox" in line.options)
    if os.path.realpath(Path(str(folder), default)) == os.path.realpath(run):
        return line.without("--run"), ""
    return line.plus("--run", run.absolute()), ""


def _of_restore(line: CommandLine, run: Path, folder: object, names: tuple[str, ...]) -> tuple[CommandLine, str]:
    """The same, of a command that goes on with a restore. names: of its run. It reads no file beyond that folder."""
    if line.command != "restore" or len(names) != 1 or line.options.get("--plan"):
        raise ValueError("no restore")
    if ids := [own_file(path_or_url(names[0]), Path(value).name) for value in line.options.get("--only", ())]:
        if not all(map(os.path.lexists, ids)):  # without them it would be a restore of all
            raise ValueError("the ids are not in the place of the run")
        line = line.plus("--only", *ids)
    left_out = {
        option: values
        for option, values in line.options.items()
        if option in FILES and not all(is_within(Path(str(folder), value), run) for value in values)
    }
    words = (shlex.join([option, *values]) for option, values in left_out.items())
    return replace(line.without(*left_out), names=names), without_words(*words)


def flags_of(of_job: Collection[str]) -> set[str]:
    """The options of a plan or a log that take no value. of_job: the options of its job, a flag with its opposite."""
    negative = {each for each in of_job if each.startswith("--no-")}
    return {*map(option_of, FLAGS_OF_LOG), *negative, *(f"--{each[5:]}" for each in negative)}


def line_of_log(words: object, run: Path, job: str, typed_words: Collection[str] = ()) -> tuple[CommandLine, str]:
    """A command that a log holds, with the options that a log may give; and a line that names what it lacks.

    Another person may have written the log: it confirms nothing, no key goes to a host that only a file names, and no
    address is asked. run: its place, as the user has said. job: of the run. typed_words: among them are addresses
    that this user has typed. Raises ValueError for words that are no command which goes on.
    """
    if not (isinstance(words, list) and all(isinstance(word, str) and word.isprintable() for word in words)):
        raise ValueError("no words")
    line = CommandLine.read(words)
    if line.command not in GOING_ON:
        raise ValueError("no command that goes on")
    of_job = options_of_run(job)
    allowed = {*map(option_of, FROM_LOG), *of_job}
    if any(line.options.get(each) for each in flags_of(of_job)):  # typed, the word would be a name
        raise ValueError("a flag takes no value")

    def only_there(value: str) -> bool:
        return address_of(value) is not None and value not in typed_words

    asked = allowed - {*map(option_of, NOT_ASKED)}
    elsewhere = {each for each in asked if any(map(only_there, line.options.get(each, ())))}
    elsewhere |= {each for each, values in line.options.items() if names_engine(each, values)}
    in_a_store = any(map(is_store_url, line.options.get("--run", ())))
    if in_a_store and (line.command == "restore" or not in_store(run)):
        allowed.discard("--run")
    left_out = [each for each in line.options if each not in allowed - elsewhere]
    names = tuple(TO_TYPE if only_there(name) else name for name in line.names)
    kept = replace(line.without(*left_out), names=names, variables={})
    if in_a_store and "--run" in kept.options:
        kept = kept.plus("--run", run)
    left_out = [each for each in left_out if each != AS_CONFIRMED]  # of one session
    shown_whole = {*map(option_of, COMPARED), *elsewhere}
    named = [shlex.join([each, *line.options[each]]) if each in shown_whole else each for each in left_out]
    return kept, without_words(*filter(only_there, line.names), *line.variables, *named)


def without_words(*words: str) -> str:
    """The line that names what a printed command lacks; empty when it lacks nothing."""
    if not words:
        return ""
    named = shown(", ".join(words))
    return f"\nThe command lacks what only the log of the run names. Add what is meant: {named}"


def how_to_take_back(packed: Annotation, run: Path) -> str:
    """Where a run goes on that was handed over. packed: the annotation. run: its first place."""
    archive, at = shown(packed.facts.get("archive", "the archive")), shown(packed.at)
    again = CommandLine("pack", (str(run),)).plus("--again").plus("--out", "NEW.tar.zst")
    return (
        f"The run was handed over on {at}, and goes on where {archive} was unpacked: on one machine, and only "
        f"there. To take it back, when it has not gone on elsewhere:\n  {CommandLine('unpack', (archive,))}\n"
        f"If the archive is lost:\n  {again}"
    )


def is_of_restore(progress: RunState) -> bool:
    """Whether a log is of a restore, or of the memberships of one: `restore` goes on with it, by the run's log."""
    try:
        return CommandLine.read(_words_of_start(progress)).command == "restore"
    except ValueError:
        return False


def to_pack(progress: RunState, run: Path) -> CommandLine | None:
    """The command that packs a run, up to its `--out`. The log of a restore is packed with that of its run.

    run: its place. Another person may have written the log, so only its place says of which run it is.
    None where there is none.
    """
    if not is_of_restore(progress):
        return CommandLine("pack", (str(run),))
    undone = undone_by(run)
    return CommandLine("pack", (str(undone),)) if undone is not None else None


def _words_of_start(progress: RunState) -> Sequence[str]:
    words: Sequence[str] = progress.start.facts.get("to_go_on", ()) if progress.start is not None else ()
    return words


def how_to_restore(progress: RunState, undo: Annotation, run: Path) -> str:
    """The commands for a run of which a restore has begun: the rest of the restore, and the rows that remain.

    undo: the latest annotation of the restore.
    """
    lines = [] if undo.is_restored else [how_to_go_on_restoring(progress, undo, run)]
    if not progress.complete:
        rows = CommandLine("results", (str(run),)).plus("--only", "remaining")
        lines.append(f"For the rows that remain, begin another run, with the ids of:\n  {rows}")
    return "\n".join(lines)


def how_to_go_on_restoring(progress: RunState, undo: Annotation, run: Path) -> str:
    """The command for the rest of a restore. progress: of its run. undo: what was noted of it last."""
    cwd = str(undo.facts.get("cwd", ""))
    where = f", in {shown(cwd)}" if cwd and os.path.lexists(cwd) else ""
    try:
        line, left_out = next_of_restore(progress, undo, run)
    except ValueError:
        return f"To go on with restore-{undo.facts.get('number', 1)}, name the same ids again (--only)."
    return f"To go on with the restore{where}:\n  {line}{left_out}"


def next_of_restore(progress: RunState, undo: Annotation, run: Path) -> tuple[CommandLine, str]:
    """The same as values: the command, and the line that names what it lacks.

    Raises ValueError where the ids of --only are not in the place.
    """
    try:
        line, left_out = line_of_log(undo.facts.get("to_go_on"), run, progress.header.pinned["job"])
        line, more = _of_restore(line, run, undo.facts.get("cwd", ""), (str(run.absolute()),))
    except ValueError:
        if undo.facts.get("only"):
            raise
        return CommandLine("restore", (str(run),)), ""
    return line, left_out + more


def goes_on(progress: RunState) -> bool:
    """Whether something remains to be sent: by the run, or by its restore."""
    return not progress.complete if progress.undo is None else not progress.undo.is_restored


def blind(progress: RunState) -> bool:
    """Whether ids are in doubt and the same command cannot settle them: the last session's look-ups found no user."""
    return bool(progress.in_doubt.size and progress.stop is not None and progress.stop.facts.get("blind"))


def how_to_settle_doubts(progress: RunState, words: Sequence[str], where: str = "") -> str:
    """The ways to settle rows in doubt when look-ups find no user at all. words: the command that resumes."""
    pinned, noun = progress.header.pinned, shown(progress.header.noun)
    pool, id_type = shown(pinned["pool"]), shown(pinned["id_type"])
    options = progress.start.facts.get("options", {}) if progress.start else {}
    text = (
        f"{counted(progress.in_doubt.size, 'id', 'is', 'are')} in doubt: sent, and no response came. Now look-ups find "
        f"no {noun} at all in pool {pool}. Either the pool is empty, or this key cannot see the {noun}s "
        f"in it.\nTo go on{where}, create one {noun} in that pool that can be looked up by {id_type}, as a "
        f"control. Then run the same command:\n  {shown(shlex.join(words))}"
    )
    if words[1] == "restore" or any(map(options.get, ONLY_FOUND)) or options.get("in_doubt") == "resend":
        return text  # a restore creates none without a look-up; or the command has the last one already
    resend = shlex.join([*words, "--in-doubt", "resend"])
    return f"{text}\nOr send them again, if no {id_type} was given to a new {noun} meanwhile:\n  {resend}"
