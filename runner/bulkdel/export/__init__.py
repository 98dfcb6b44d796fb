"""Reading the export: bytes to rows, twice, the same both times. Knows nothing of requests, pace or outcomes."""

from bulkdel.export.file import BLOCK, Export, Fingerprint, fingerprint, open_export
from bulkdel.export.invalid_file import REASONS, bad_rows, write_invalid
from bulkdel.export.preflight import RESUME_ROWS, Preflight, preflight
from bulkdel.export.reader import read_rows
from bulkdel.export.rows import Dialect, Parsed, ReadOptions
from bulkdel.export.sniff import CANDIDATES, recognise

__all__ = [
    "BLOCK",
    "CANDIDATES",
    "REASONS",
    "RESUME_ROWS",
    "Dialect",
    "Export",
    "Fingerprint",
    "Parsed",
    "Preflight",
    "ReadOptions",
    "bad_rows",
    "fingerprint",
    "open_export",
    "preflight",
    "read_rows",
    "recognise",
    "write_invalid",
]
