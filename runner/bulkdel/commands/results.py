"""`bulkdel results`: what became of every row, from the log and the export. Owns the report's way out; sends nothing.

A report that is cut short looks like one that is whole, so here, other than in what is said while a run is under way,
every failing write counts (exit 5), and a file gets its name only when all of it is on the disk.
"""

from __future__ import annotations

import hmac
import os
import signal
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bulkdel.checkpoint.index import RowResult
from bulkdel.checkpoint.reader import find_log
from bulkdel.command_line import quoted
from bulkdel.core.id_type import IdType
from bulkdel.core.result_row import ID, ID_HASH, OUTCOMES, Csv, Form, JsonLines, details
from bulkdel.core.row_filter import BadRow
from bulkdel.durable import write_all
from bulkdel.errors import FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export import Parsed
from bulkdel.format import counted
from bulkdel.output import say
from bulkdel.verify.reopen import Reopened

WRITTEN_AT_ONCE = 1 << 18
"""Bytes gathered before they are written: a report is many small pieces."""

STDOUT = 1

KEY_MIN = 16
"""Bytes. Ids are not secret enough to be hashed with less: whoever guesses the key can try all of them."""

KEY_MAX = 1 << 16
"""Bytes. Larger is some other file, named by mistake."""

MAKE_ONE = "To make one: (umask 077; head -c 32 /dev/urandom > {})"

FORMATS = {".jsonl": "jsonl", ".csv": "csv", "": "jsonl"}
"""The format, by the ending of --out."""

UNREAD = 128 + signal.SIGPIPE
"""Exit code when the reader of stdout has left (`| head`): no error, but not all of it was written."""

Hash = Callable[[str], str]
Write = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What to write. only: the outcomes that are wanted. key: hash ids with it, and leave out what may quote one."""

    only: Collection[str] = OUTCOMES
    csv: bool = False
    key: bytes | None = None

    @property
    def form(self) -> Form:
        """How records are written."""
        name = ID if self.key is None else ID_HASH
        return Csv(name) if self.csv else JsonLines(name)


def only_of(text: str) -> frozenset[str]:
    """Read `refused,unknown`. Raises UsageError for a word that is no outcome."""
    words = frozenset(word.strip() for word in text.split(","))
    if wrong := sorted(words - set(OUTCOMES)):
        raise UsageError(f"--only {text}: no outcome is called {wrong[0]!r}. There are: {', '.join(OUTCOMES)}")
    return words


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

    Raises NotAcceptable, FileFailed, and BrokenPipeError when nobody reads stdout any more.
    """
    with ExitStack() as stack:
        reopened = Reopened.open(checkpoint, export, stack)
        write = stack.enter_context(_into(out) if out else _to_stdout())
        return _write_rows(reopened, report, write)


def _write_rows(reopened: Reopened, report: Report, write: Write) -> Counter[str]:
    form, tally, rows = report.form, Counter[str](), 0
    hashed = None if report.key is None else hashing(report.key, reopened.id_type)
    write(form.head)
    try:
        for parsed, log_index in reopened.rows():
            rows += len(parsed.batch.rows)
            for row_result in log_index:
                if row_result.kind in report.only:
                    tally[row_result.kind] += row_result.stop - row_result.start
                    write("".join(_records(parsed, row_result, form, hashed)))
    except Halted as error:  # the source words it for a run
        raise NotAcceptable(f"{reopened.export.path}: was changed while it was read. Start again.") from error
    if rows != reopened.log_index.progress.rows:
        raise NotAcceptable(
            f"{reopened.export.path}: {rows:,} rows were read, the run had {reopened.log_index.progress.rows:,}: what "
            "was written is wrong. Use the version of bulkdel that made the log."
        )
    return tally


def _records(parsed: Parsed, row_result: RowResult, form: Form, hashed: Hash | None) -> list[str]:
    begin, end = row_result.start - parsed.batch.start, row_result.stop - parsed.batch.start
    rows, lines = parsed.batch.rows[begin:end], parsed.lines[begin:end]
    named = {each["position"]: each for each in row_result.outcome.exceptions} if row_result.outcome else {}
    if not named and not parsed.raw:  # all have ids, and nothing is said of any one of them: nearly every row
        ids = cast("list[str]", rows)
        tail = form.tail(row_result.kind, details(row_result.outcome, {}, in_doubt=row_result.in_doubt))
        return form.rows(row_result.start, lines, map(hashed, ids) if hashed else ids, tail)
    records: list[str] = []
    for position, (line, row) in enumerate(zip(lines, rows, strict=True), row_result.start):
        known: dict[str, Any] = details(row_result.outcome, named.get(position, {}), in_doubt=row_result.in_doubt)
        id_: str | None = None
        if isinstance(row, BadRow):
            known = {"reason": row.why.words, **known}  # what is wrong with it, and not what stands there
        else:
            id_ = hashed(row) if hashed else row
        if hashed:
            known.pop("message", None)  # a server may quote the id
        records += form.rows(position, (line,), (id_,), form.tail(row_result.kind, known))
    return records


class _Gathering:
    """Writes whole pieces to a file descriptor. name: of the file, for messages."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._parts: list[str] = []
        self._size = 0

    def write(self, text: str) -> None:
        """Take `text`. Raises FileFailed, and BrokenPipeError."""
        self._parts.append(text)
        self._size += len(text)
        if self._size >= WRITTEN_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        data = "".join(self._parts).encode()
        self._parts, self._size = [], 0
        try:
            write_all(self._fd, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileFailed(f"{self._name}: {error.strerror}. What was written is not the whole report.") from error


@contextmanager
def _to_stdout() -> Iterator[Write]:
    if sys.stdout is None:  # closed from the start; its number then belongs to /dev/null (`bulkdel.cli`)
        raise FileFailed("stdout is closed. Name a file with --out FILE")
    gathering = _Gathering(STDOUT, "stdout")
    yield gathering.write
    gathering.flush()


@contextmanager
def _into(out: Path) -> Iterator[Write]:
    """Write beside `out`, and give it the name when all of it is on the disk. Nothing that exists is overwritten."""
    if os.path.lexists(out):  # told before the work, too
        raise UsageError(f"--out {out}: is there already, and is not overwritten. Name another file")
    with _failing(out):
        fd, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part")  # 0600, O_EXCL
    part = Path(name)
    try:
        try:
            gathering = _Gathering(fd, f"--out {out}")
            yield gathering.write
            gathering.flush()
            with _failing(out):
                os.fsync(fd)
        finally:
            os.close(fd)
        with _failing(out):
            # The name is taken first, so that a file that has come there meanwhile is not replaced.
            os.close(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _failing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileFailed(f"--out {out}: {error.strerror}. There is no report.") from error


def told(tally: Mapping[str, int]) -> str:
    """Word how many rows were written."""
    parts = [f"{tally[outcome]:,} {outcome}" for outcome in OUTCOMES if tally.get(outcome)]
    count = sum(tally.values())
    return f"results: {counted(count, 'row')}" + (f": {', '.join(parts)}" if parts else "")


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
        only=OUTCOMES if only is None else only_of(only),
        csv=(format_ or _format_of(out)) == "csv",
        key=None if hash_ids is None else read_key(Path(os.path.expanduser(hash_ids))),  # noqa: PTH111 - as elsewhere
    )
    try:
        tally = write_results(find_log(checkpoint), export, report, out)
    except BrokenPipeError:
        return UNREAD
    say(told(tally))
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
