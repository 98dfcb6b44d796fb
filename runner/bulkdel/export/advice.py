"""Options that would let a refused file be read: advice for its refusal. Never acts on it; a person has to choose.

Each piece of advice is tried on the whole file, and advice is given for the next obstacle, too. So one refusal is
enough to find every option.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson

from bulkdel.core.bad_rows import looks_like
from bulkdel.core.columns import COLUMNS_MAX, ColumnScores, Fit, candidates
from bulkdel.core.id_parser import id_of_value, shortened
from bulkdel.errors import NotAcceptable
from bulkdel.export.compression import MAGIC, decompressed, detect
from bulkdel.export.encoding import EVIDENCE, guessed_encodings, recognised, wide_without_mark
from bulkdel.export.file import Export, Hashing, Progress
from bulkdel.export.lines import Lines, whole_lines
from bulkdel.export.preflight import preflight
from bulkdel.export.refusal import ExportRefused, Fault, bad_rows_table, most_look_like
from bulkdel.export.rows import ReadOptions
from bulkdel.export.sniff import DELIMITERS, SEP_LINE

SAMPLE_ROWS = 10_000

STEPS_MAX = 4
"""Options that are advised one after another: the encoding, the column, the type, and one to spare."""

WAYS_MAX = 3
"""Columns that a refusal names with a command each."""

DEPTH_MAX = 3
"""How deep the members of a JSON object are searched."""

Options = Mapping[str, str]
"""Options as they are typed, with their values; `` for a flag."""


@dataclass(frozen=True, slots=True)
class Words:
    """Lines of a refusal. public: the same without the texts of rows."""

    text: str
    public: str


NO_WORDS = Words("", "")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read the file.

    given: the options that are added. options: with them. why: the words that lead to it. left: the refusal of the bad
    rows that remain, when most rows are usable. reads: whether nothing but such rows is in the way.
    """

    given: Options
    options: ReadOptions
    why: tuple[Words, ...] = ()
    left: ExportRefused | None = None
    reads: bool = False

    def plus(self, given: Options, why: Words, **changed: Any) -> Way:
        """With further options. changed: the same, as `ReadOptions` has them."""
        return Way({**self.given, **given}, replace(self.options, **changed), (*self.why, why))

    @property
    def skipping(self) -> Options:
        """The options that leave out the bad rows that remain."""
        return {} if self.left is None else {"--skip-invalid": str(self.left.rows - self.left.usable)}


def advise(
    export: Export, options: ReadOptions, error: ExportRefused, *, asked: bool, on_progress: Progress | None = None
) -> tuple[Way, ...]:
    """Look for the options with which a refused file can be read. Reads the file again, once for each way.

    Returns the likeliest way first; several when columns fit equally well.

    error: its refusal. asked: whether the id type was given, and is not just the default of the job.
    """
    ways = _followed(export, Way({}, options), error, asked=asked, steps=STEPS_MAX, on_progress=on_progress)
    return tuple(islice((way for way in ways if way.given), WAYS_MAX))


def _followed(
    export: Export, way: Way, error: ExportRefused, *, asked: bool, steps: int, on_progress: Progress | None
) -> Iterator[Way]:
    """Yield where this way leads. error: what is in its way."""
    further = _ways_on(export, way, error, asked=asked) if steps else []
    if not further:
        yield way
    for each in further:
        left = _refused(export, each.options, on_progress)
        if left is None or (left.fault is Fault.BAD_ROWS and left.usable * 2 > left.rows):
            yield replace(each, left=left, reads=True)
        else:
            yield from _followed(export, each, left, asked=asked, steps=steps - 1, on_progress=on_progress)


def _refused(export: Export, options: ReadOptions, on_progress: Progress | None) -> ExportRefused | None:
    """Read the whole file with these options; None when it is acceptable."""
    try:
        preflight(export, options, on_progress=on_progress)
    except ExportRefused as error:
        return error
    return None


def _ways_on(export: Export, way: Way, error: ExportRefused, *, asked: bool) -> list[Way]:
    if error.fault is Fault.ENCODING and way.options.encoding is None:
        return _by_encoding(export, way)
    mostly_bad = error.fault is Fault.BAD_ROWS and error.usable * 2 <= error.rows
    if mostly_bad and most_look_like(error.bad, error.rows):
        types = way.options.id_types  # the refusal itself names them
        return [way.plus({"--id-type": name}, NO_WORDS, id_type=types[name]) for name in looks_like(error.bad)]
    return _by_column(export, way, asked=asked) if mostly_bad or error.fault is Fault.COLUMN else []


def _by_encoding(export: Export, way: Way) -> list[Way]:
    """The likeliest encoding; the words name the others."""
    sample = _not_utf8(export)
    wide = wide_without_mark(sample[:4096])
    names = [wide] if wide is not None else guessed_encodings(sample)
    if not names:
        return []
    shown = next((line for line in sample.splitlines() if not line.isascii()), b"")
    seen = [f"  --encoding {name}: {shortened(shown.decode(name, 'replace'))!r}" for name in names if wide is None]
    text = f"Its text looks like {' or '.join(names)}." + (" Which of these is right?" if len(names) > 1 else "")
    words = Words("\n".join([text, *seen]), text)
    return [way.plus({"--encoding": names[0]}, words, encoding=names[0])]


def _not_utf8(export: Export) -> bytes:
    """Return the lines that are not ASCII, from the first one that is not UTF-8 on; or the beginning of UTF-16."""
    hashing = Hashing(export)
    blocks = decompressed(hashing, detect(hashing.head(MAGIC)), export.path, export.block_size)
    kept = bytearray()
    for block in blocks:
        if not kept and wide_without_mark(block[:4096]) is not None:
            return block[:EVIDENCE]
        lines = block.split(b"\n")
        if not kept and _is_utf8(block):
            continue
        kept += b"\n".join(line for line in lines if not line.isascii()) + b"\n"
        if len(kept) >= EVIDENCE:
            break
    return bytes(kept[:EVIDENCE])


def _is_utf8(block: bytes) -> bool:
    try:
        block[block.find(b"\n") + 1 : block.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return False
    return b"\n" in block


def _by_column(export: Export, way: Way, *, asked: bool) -> list[Way]:
    """Score the columns, and go on with each that fits as well as the best."""
    scores = _scored(export, way.options)
    fits = scores.fits() if scores is not None else []
    if asked and (own := [fit for fit in fits if fit.id_type == way.options.id_type.name]):
        fits = own
    some = [
        fit
        for fit in candidates(fits)
        if _field(fit) != way.options.id_field or fit.id_type != way.options.id_type.name
    ]
    if scores is None or not some:
        return []
    table = _table(fits, scores.rows)
    ways = []
    for fit in some:
        given = {"--id-field": _field(fit)}
        if fit.id_type != way.options.id_type.name or asked:
            given["--id-type"] = fit.id_type
        changed = {"id_field": _field(fit), "id_type": way.options.id_types[fit.id_type]}
        ways.append(way.plus(given, table, **changed))
    return ways


def _field(fit: Fit) -> str:
    """The column as --id-field names it: by its heading, or by its number where it has none."""
    return fit.column if fit.headed or fit.number is None else str(fit.number)


def _table(fits: Sequence[Fit], rows: int) -> Words:
    """How many rows of the sample fit, column by column."""
    rows -= fits[0].headed
    lines, public = [], []
    names = [repr(fit.column) if fit.headed or fit.number is None else f"number {fit.number}" for fit in fits]
    width, kinds = max(map(len, names)), max(len(fit.id_type) for fit in fits)
    for fit, name in zip(fits[:8], names, strict=False):
        end = f"{fit.id_type:<{kinds}}  {fit.rows:,}" + ("" if fit.likely else ", as any number does")
        lines.append(f"  {name:<{width}}  {end}")
        public.append(f"  column {fit.number}: {end}" if fit.number is not None else f"  a member: {end}")
    text = f"How many of the first {rows:,} rows fit an id type:"
    return Words("\n".join([text, *lines]), "\n".join([text, *public]))


def _scored(export: Export, options: ReadOptions) -> ColumnScores | None:
    """Score a sample of the rows; None where none can be read. Of several delimiters, the one that fits best counts."""
    with suppress(NotAcceptable):
        first = next((block.data for block in _sample(export, options)), b"").lstrip()
        if options.format == "jsonl" or (options.format == "auto" and first.startswith(b"{")):
            scores = ColumnScores(options.id_types, options.trim, headings=False)
            for row in _objects(export, options):
                scores.add(_members(row))
            return scores
        sep_line = SEP_LINE.match(first.decode(errors="replace"))
        scored = []
        for delimiter in (sep_line[1],) if sep_line else DELIMITERS:
            scores = ColumnScores(options.id_types, options.trim)
            for cells in islice(_cells(export, options, delimiter, above=1 if sep_line else 0), SAMPLE_ROWS + 1):
                scores.add(enumerate(cells[:COLUMNS_MAX], 1))
            scored.append(scores)
        return max(scored, key=_best)
    return None


def _best(scores: ColumnScores) -> tuple[bool, int]:
    return max(((fit.likely, fit.rows) for fit in scores.fits()), default=(False, 0))


def _sample(export: Export, options: ReadOptions) -> Iterator[Lines]:
    _, _, plain = recognised(Hashing(export), options.encoding)
    return whole_lines(plain, export.path)


def _cells(export: Export, options: ReadOptions, delimiter: str, above: int) -> Iterator[list[str]]:
    lines = (line.decode() for block in _sample(export, options) for line in block.data.splitlines(keepends=True))
    with suppress(csv.Error, UnicodeDecodeError, NotAcceptable):
        for cells in csv.reader(islice(lines, above, None), delimiter=delimiter, strict=True):
            if cells:
                yield cells


def _objects(export: Export, options: ReadOptions) -> Iterator[dict[str, Any]]:
    lines = (line for block in _sample(export, options) for line in block.data.splitlines())
    with suppress(NotAcceptable):
        for line in islice(lines, SAMPLE_ROWS):
            with suppress(orjson.JSONDecodeError):
                row = orjson.loads(line)
                if isinstance(row, dict):
                    yield row


def _members(row: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str | int, str]]:
    """The path and the text of each member that may be an id."""
    for name, value in row.items():
        path = f"{before}{name}"
        if isinstance(value, dict):
            if depth < DEPTH_MAX:
                yield from _members(value, f"{path}.", depth + 1)
        elif isinstance(id_ := id_of_value(value), str):
            yield path, id_


def left_words(way: Way) -> Words | None:
    """The bad rows that remain on this way; None without any."""
    if way.left is None:
        return None
    bad = way.left.rows - way.left.usable
    begin = f"Then {bad:,} of {way.left.rows:,} rows {'is' if bad == 1 else 'are'} bad:"
    return Words(f"{begin}\n{bad_rows_table(way.left.bad)}", f"{begin}\n{bad_rows_table(way.left.bad, public=True)}")
