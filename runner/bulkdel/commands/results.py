"""`bulkdel results`: the outcome of every row, from the log and the rows of the run. Owns the writing; sends nothing.

A report that is cut short looks complete. So a failing write ends the command (exit 5), and a file gets its name only
when all of it is on disk.
"""

from __future__ import annotations

import hmac
import os
import signal
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from bulkdel.checkpoint.index import RowResult
from bulkdel.command_line import quoted
from bulkdel.commands.results_tables import SHEET_ROWS, Parquet, Workbook
from bulkdel.core.bad_rows import Unusable
from bulkdel.core.id_type import IdType
from bulkdel.core.input_rows import Rows
from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING, OutcomeWords
from bulkdel.core.result_row import AFTER, BEFORE, ID, ID_HASH, PROTECTED, csv_line, details, json_line
from bulkdel.durable import atomic_file, write_all
from bulkdel.errors import FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export.reopen import Reopened
from bulkdel.format import counted, shown
from bulkdel.log_words import bad_row_words
from bulkdel.output import say

STDOUT = 1

KEY_MIN = 16
"""Bytes. With a key that can be guessed, hashed ids can be guessed too."""

KEY_MAX = 1 << 16
"""Bytes. A larger file is not a key but some other file, named by mistake."""

MAKE_ONE = "To make one: (umask 077; head -c 32 /dev/urandom > {})"

FORMATS = {".jsonl": "jsonl", ".csv": "csv", ".csv.gz": "csv.gz", ".xlsx": "xlsx", ".parquet": "parquet", "": "jsonl"}
"""The format, by the ending of --out."""

GZIP_WINDOW = 31
"""zlib's window bits for a gzip file. Its header has no name and no time, so the same rows give the same bytes."""

UNREAD = 128 + signal.SIGPIPE
"""Exit code when the reader of stdout has left (`| head`): no error, but not all of it was written."""

Hash = Callable[[str], str]
Write = Callable[[bytes], object]


def kinds_of(only: str | None, words: OutcomeWords) -> Mapping[str, str]:
    """The outcomes that are wanted, by the engine's word, with the word for scripts of each.

    only: such as `refused,unknown`, in the words for scripts or in the engine's. Raises UsageError for another word.
    """
    names = {kind: words.keys.get(kind, kind) for kind in (*COUNTED, REMAINING)}
    if only is None:
        return names
    names = {kind: name for kind, name in names.items() if kind not in JOBS_OWN or kind in words.names}
    wanted = {word.strip() for word in only.split(",")}
    if wrong := sorted(wanted - set(names.values()) - names.keys()):
        raise UsageError(f"--only {only}: no outcome is called {wrong[0]!r}. There are: {', '.join(names.values())}")
    return {kind: name for kind, name in names.items() if wanted & {kind, name}}


def read_key(path: Path) -> bytes:
    """Read the key of `--hash-ids`; a line feed at its end does not count. Raises UsageError."""
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

    The hash covers the id type, a NUL and the folded id. So an email has the same hash in every report, in upper or
    lower case, and an id of another type with the same letters has another hash.
    """
    prefix, fold = f"{id_type.name}\0".encode(), id_type.key
    return lambda id_: hmac.digest(key, prefix + fold(id_).encode(), "sha256").hex()


def write_rows(
    reopened: Reopened,
    wanted: Mapping[str, str],
    write: Write,
    *,
    csv: bool = False,
    key: bytes | None = None,
    on_terminal: bool = False,
) -> Counter[str]:
    """Write a line for every row whose outcome is `wanted` (`kinds_of`); returns how many of each.

    csv: as CSV, with a header. key: hash the ids with it, and leave out texts that may quote an id.
    on_terminal: with escapes in the place of what steers a terminal; a file and a pipe get each text as it is.
    """
    columns = columns_of(reopened, key)
    if csv:
        write(f"{','.join(columns)}\n".encode())
    line = partial(csv_line, columns=columns) if csv else json_line

    def put(records: Iterable[Mapping[str, Any]]) -> None:
        write(b"".join(map(line, _escaped(records) if on_terminal else records)))

    return write_records(reopened, wanted, put, key=key)


def _escaped(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for record in records:
        yield {name: shown(value) if isinstance(value, str) else value for name, value in record.items()}


def columns_of(reopened: Reopened, key: bytes | None) -> list[str]:
    """The columns of the report, in order. key: of hashed ids."""
    columns = [*BEFORE, *reopened.job.words.columns, *AFTER]
    if key is not None:
        columns[columns.index(ID)] = ID_HASH
    return columns


def write_records(
    reopened: Reopened,
    wanted: Mapping[str, str],
    write: Callable[[Iterable[Mapping[str, Any]]], None],
    *,
    key: bytes | None = None,
) -> Counter[str]:
    """Give `write` the record of every row whose outcome is `wanted`, batch by batch; returns how many of each."""
    words = reopened.job.words
    hash_id = None if key is None else hashing(key, reopened.id_type)
    tally = Counter[str](dict.fromkeys(wanted.values(), 0))
    try:
        for rows, results in reopened.rows():
            records: list[Mapping[str, Any]] = []
            for result in results:
                if (name := wanted.get(result.kind)) is not None:
                    tally[name] += result.stop - result.start
                    records += _records(rows, result, name, words.columns, hash_id)
            write(records)
    except Halted as error:  # its message is meant for a run
        raise NotAcceptable(str(error)) from error
    return tally


def _records(
    rows: Rows, result: RowResult, outcome: str, columns: Mapping[str, str], hash_id: Hash | None
) -> Iterator[dict[str, Any]]:
    """Yield the record of each row of this result, in the order of its columns."""
    exceptions = {each["position"]: each for each in result.outcome.exceptions} if result.outcome else {}
    shared = details(result.outcome, {}, columns, in_doubt=result.in_doubt)
    if result.kind == "excluded":
        shared = {"reason": result.why or PROTECTED, **shared}
    for position in range(result.start, result.stop):
        id_, line = rows.ids[position - rows.at], rows.lines[position - rows.at]
        known = shared
        if exception := exceptions.get(position):
            # A message may quote the id.
            exception = {name: value for name, value in exception.items() if not (hash_id and name == "message")}
            known = details(result.outcome, exception, columns, in_doubt=result.in_doubt)
        if id_ is None:
            known = {"reason": _why(rows.why[position], quoting=hash_id is None), **known}
        elif hash_id is not None:
            id_ = hash_id(id_)
        yield {"position": position, "line": line, ID_HASH if hash_id else ID: id_, "outcome": outcome, **known}


def _why(code: str, *, quoting: bool) -> str:
    """Why a row is bad, in words. quoting: also a cell of the row, which some reasons name."""
    try:
        why = Unusable.of(code)
    except ValueError:
        return shown(code)
    return why.words if quoting else bad_row_words(why.why.name)


@contextmanager
def output(out: Path | None) -> Iterator[Write]:
    """Open the file `out`, which must be new, or stdout. Raises BrokenPipeError where nothing reads stdout any more."""
    if out is None:
        if sys.stdout is None:  # it was closed at the start, and `cli.main` has opened /dev/null under its number
            raise FileFailed("stdout is closed. Name a file with --out FILE")
        yield _write
        return
    with _new_file(out) as file:
        yield file.write


@contextmanager
def _packed(out: Path | None) -> Iterator[Write]:
    """See `output`; compresses what is written."""
    packer = zlib.compressobj(wbits=GZIP_WINDOW)
    with output(out) as write:
        yield lambda data: write(packer.compress(data))
        write(packer.flush())


@contextmanager
def _table(format_: str, out: Path, columns: Sequence[str]) -> Iterator[Workbook | Parquet]:
    """Open a workbook or a Parquet file, which must be new."""
    table: Workbook | Parquet
    with _new_file(out) as file, ExitStack() as stack:
        if format_ == "xlsx":
            table = Workbook(file, columns, out.absolute().parent, stack, SHEET_ROWS)
        else:
            table = Parquet(file, columns)
        yield table
        table.close()


@contextmanager
def _new_file(out: Path) -> Iterator[BinaryIO]:
    if os.path.lexists(out):  # checked before the work, and again at its end
        raise UsageError(f"--out {out}: is there already, and is not overwritten. Name another file")
    try:
        with atomic_file(out) as file:
            yield file
    except OSError as error:
        raise FileFailed(f"--out {out}: {error.strerror}. No file was left behind.") from error


def _write(data: bytes) -> None:
    """Write to stdout."""
    try:
        write_all(STDOUT, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileFailed(f"stdout: {error.strerror}. The report is incomplete.") from error


def print_results(
    run: Path,
    *,
    only: str | None,
    format_: str | None,
    out: Path | None,
    export: str | None,
    hash_ids: Path | None,
) -> int:
    """Write the report, and how many rows it has to stderr. Returns 141 when the reader of stdout has left."""
    found = format_ or _format_of(out)
    key = None if hash_ids is None else read_key(Path(os.path.expanduser(hash_ids)))  # noqa: PTH111 - as elsewhere
    try:
        with ExitStack() as stack:
            reopened = Reopened.open(run, export, stack)
            wanted = kinds_of(only, reopened.job.words)
            if out is not None and found in {"xlsx", "parquet"}:
                table = stack.enter_context(_table(found, out, columns_of(reopened, key)))
                tally = write_records(reopened, wanted, table.write, key=key)
            else:
                packs = out is not None and found == "csv.gz"
                write = stack.enter_context(_packed(out) if packs else output(out))
                seen = out is None and sys.stdout is not None and sys.stdout.isatty()
                tally = write_rows(reopened, wanted, write, csv=found != "jsonl", key=key, on_terminal=seen)
    except BrokenPipeError:
        return UNREAD
    written = ", ".join(f"{count:,} {name}" for name, count in tally.items() if count)
    say(f"results: {counted(tally.total(), 'row')}" + (f": {written}" if written else ""))
    return 0


def _format_of(out: Path | None) -> str:
    """The format of this file, by its ending. Raises UsageError for the ending of another format."""
    ending = out.suffix.lower() if out else ""
    if out is not None and out.name.lower().endswith(".csv.gz"):
        ending = ".csv.gz"
    if ending not in FORMATS:
        written = " or ".join(filter(None, FORMATS))
        raise UsageError(
            f"--out {out}: no format has the ending {ending}. Name a file that ends in {written}, or give the format: "
            "--format jsonl or --format csv"
        )
    return FORMATS[ending]
