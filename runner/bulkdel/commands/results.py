"""`bulkdel results`: what became of every row, from the log and the export. Owns the report's writing; sends nothing.

A report that is cut short looks complete. So a failing write ends the command (exit 5), and a file gets its name only
when all of it is on disk.
"""

from __future__ import annotations

import hmac
import os
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bulkdel.checkpoint.index import RowResult
from bulkdel.checkpoint.reader import find_log
from bulkdel.command_line import quoted
from bulkdel.core.bad_rows import BadRow
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING, OutcomeWords
from bulkdel.core.result_row import AFTER, BEFORE, ID, ID_HASH, Csv, Form, JsonLines, details
from bulkdel.durable import atomic_file, write_all
from bulkdel.errors import FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export import Parsed
from bulkdel.format import counted
from bulkdel.output import say
from bulkdel.verify.reopen import Reopened

STDOUT = 1

KEY_MIN = 16
"""Bytes. With a key that can be guessed, hashed ids can be guessed too."""

KEY_MAX = 1 << 16
"""Bytes. A larger file is not a key but some other file, named by mistake."""

MAKE_ONE = "To make one: (umask 077; head -c 32 /dev/urandom > {})"

FORMATS = {".jsonl": "jsonl", ".csv": "csv", "": "jsonl"}
"""The format, by the ending of --out."""

UNREAD = 128 + signal.SIGPIPE
"""Exit code when the reader of stdout has left (`| head`): no error, but not all of it was written."""

Hash = Callable[[str], str]
Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What to write.

    only: `--only`, as typed; None for every outcome. key: hash ids with it, and leave out texts that may quote one.
    """

    only: str | None = None
    csv: bool = False
    key: bytes | None = None

    def form(self, words: OutcomeWords) -> Form:
        """How records are written."""
        name = ID if self.key is None else ID_HASH
        outcome = BEFORE.index("outcome")
        return Csv((*BEFORE[outcome + 1 :], *words.columns, *AFTER), name) if self.csv else JsonLines(name)


def kinds_of(only: str | None, words: OutcomeWords) -> Mapping[str, str]:
    """The outcomes that are wanted, by the engine's word, with the job's name for each.

    only: such as `refused,unknown`, in the job's names. Raises UsageError for a word that is no outcome.
    """
    names = {kind: words.names.get(kind, kind) for kind in (*COUNTED, REMAINING)}
    if only is None:
        return names
    names = {kind: name for kind, name in names.items() if kind not in JOBS_OWN or kind in words.names}
    wanted = {word.strip() for word in only.split(",")}
    if wrong := sorted(wanted - set(names.values())):
        raise UsageError(f"--only {only}: no outcome is called {wrong[0]!r}. There are: {', '.join(names.values())}")
    return {kind: name for kind, name in names.items() if name in wanted}


def read_key(path: Path) -> bytes:
    """Read the key of `--hash-ids`; a line feed at its end is none of it. Raises UsageError."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise UsageError(f"--hash-ids {path}: others can read the key. Fix: chmod 600 {quoted(path)}")
            key = file.read(KEY_MAX + 1)
    except OSError as error:
        raise UsageError(f"--hash-ids {path}: {error.strerror}. {MAKE_ONE.format(quoted(path))}") from error
    if len(key) > KEY_MAX:
        raise UsageError(f"--hash-ids {path}: over 64 KiB; that is no key. {MAKE_ONE.format('KEYFILE')}")
    key = key.rstrip(b"\r\n")
    if len(key) < KEY_MIN:
        raise UsageError(f"--hash-ids {path}: fewer than {KEY_MIN} bytes can be guessed. {MAKE_ONE.format('KEYFILE')}")
    return key


def hashing(key: bytes, id_type: IdType) -> Hash:
    """Return the function from an id to its HMAC-SHA256, in hex.

    Over type, NUL and the folded id, so that an email hashes alike in every report however it was written, and never
    like another type's id of the same letters.
    """
    prefix, fold = f"{id_type.name}\0".encode(), id_type.key
    return lambda id_: hmac.digest(key, prefix + fold(id_).encode(), "sha256").hex()


def write_results(checkpoint: Path, export: str | None, report: Report, out: Path | None) -> Counter[str]:
    """Write the report to `out`, or to stdout; returns how many rows of which outcome were written.

    Raises UsageError, NotAcceptable, FileFailed, and BrokenPipeError when stdout has no reader any more.
    """
    with ExitStack() as stack:
        reopened = Reopened.open(checkpoint, export, stack)
        wanted = kinds_of(report.only, reopened.job.words)
        write = stack.enter_context(_into(out) if out else _to_stdout())
        return write_rows(reopened, report, wanted, write)


def write_rows(reopened: Reopened, report: Report, wanted: Mapping[str, str], write: Write) -> Counter[str]:
    """Write the report's head and a record for every row whose outcome is `wanted` (`kinds_of`)."""
    columns = reopened.job.words.columns
    form, rows = report.form(reopened.job.words), 0
    tally = Counter[str](dict.fromkeys(wanted.values(), 0))
    hashed = None if report.key is None else hashing(report.key, reopened.id_type)
    write(form.head.encode())
    try:
        for parsed, results in reopened.rows():
            rows += len(parsed.batch.rows)
            records: list[str] = []
            for result in results:
                if (name := wanted.get(result.kind)) is not None:
                    tally[name] += result.stop - result.start
                    records += _records(parsed, result, name, form, columns=columns, hashed=hashed)
            write("".join(records).encode())
    except Halted as error:  # the export words it for a run
        raise NotAcceptable(f"{reopened.export.path}: was changed while it was read. Start again.") from error
    if rows != reopened.log_index.progress.rows:
        raise NotAcceptable(
            f"{reopened.export.path}: {rows:,} rows were read, the run had {reopened.log_index.progress.rows:,}: what "
            "was written is wrong. Use the version of bulkdel that made the log."
        )
    return tally


def _records(
    parsed: Parsed, result: RowResult, name: str, form: Form, *, columns: Mapping[str, str], hashed: Hash | None
) -> list[str]:
    begin, end = result.start - parsed.batch.start, result.stop - parsed.batch.start
    rows, lines = parsed.batch.rows[begin:end], parsed.lines[begin:end]
    said = {each["position"]: each for each in result.outcome.exceptions} if result.outcome else {}
    if not said and not parsed.raw:  # every row has an id, and all of them share one text: nearly always
        ids = cast("list[str]", rows)
        tail = form.tail(name, details(result.outcome, {}, columns, in_doubt=result.in_doubt))
        return form.rows(result.start, lines, map(hashed, ids) if hashed else ids, tail)
    records: list[str] = []
    for position, (line, row) in enumerate(zip(lines, rows, strict=True), result.start):
        exception = said.get(position, {})
        if hashed:
            exception = {member: value for member, value in exception.items() if member != "message"}  # may quote an id
        known: dict[str, Any] = details(result.outcome, exception, columns, in_doubt=result.in_doubt)
        id_: str | None = None
        if isinstance(row, BadRow):
            known = {"reason": row.why.words, **known}  # why the row is bad, without its text
        else:
            id_ = hashed(row) if hashed else row
        records += form.rows(position, (line,), (id_,), form.tail(name, known))
    return records


def _writing(fd: int, name: str) -> Write:
    def write(data: bytes) -> None:
        try:
            write_all(fd, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileFailed(f"{name}: {error.strerror}. What was written is not the whole report.") from error

    return write


@contextmanager
def _to_stdout() -> Iterator[Write]:
    if sys.stdout is None:  # closed from the start; its number then belongs to /dev/null (`bulkdel.cli`)
        raise FileFailed("stdout is closed. Name a file with --out FILE")
    yield _writing(STDOUT, "stdout")


@contextmanager
def _into(out: Path) -> Iterator[Write]:
    if os.path.lexists(out):  # before the work, too
        raise UsageError(f"--out {out}: is there already, and is not overwritten. Name another file")
    try:
        with atomic_file(out) as file:
            yield _writing(file.fileno(), f"--out {out}")
    except OSError as error:
        raise FileFailed(f"--out {out}: {error.strerror}. There is no report.") from error


def tally_words(tally: Mapping[str, int]) -> str:
    """Word how many rows were written."""
    parts = [f"{count:,} {name}" for name, count in tally.items() if count]
    rows = counted(sum(tally.values()), "row")
    return f"results: {rows}" + (f": {', '.join(parts)}" if parts else "")


def print_results(
    checkpoint: Path,
    *,
    only: str | None,
    format_: str | None,
    out: Path | None,
    export: str | None,
    hash_ids: Path | None,
) -> int:
    """Write the report, and its number of rows to stderr. 141 when the reader of stdout has left."""
    report = Report(
        only=only,
        csv=(format_ or _format_of(out)) == "csv",
        key=None if hash_ids is None else read_key(Path(os.path.expanduser(hash_ids))),  # noqa: PTH111 - as elsewhere
    )
    try:
        tally = write_results(find_log(checkpoint), export, report, out)
    except BrokenPipeError:
        return UNREAD
    say(tally_words(tally))
    return 0


def _format_of(out: Path | None) -> str:
    """The format of this file, by its ending. Raises UsageError for the ending of another format."""
    ending = out.suffix.lower() if out else ""
    if ending not in FORMATS:
        written = " or ".join(filter(None, FORMATS))
        raise UsageError(
            f"--out {out}: {ending} is not written. Name a file that ends in {written}, or say the format whatever the "
            "name: --format jsonl or --format csv"
        )
    return FORMATS[ending]
