"""Reading the export: bytes to rows, once. Knows nothing of requests, pace or outcomes."""

from bulkdel.export.file import BLOCK, Export, Fingerprint, fingerprint, open_export
from bulkdel.export.invalid_file import REASONS, InvalidRows
from bulkdel.export.preflight import Preflight, preflight
from bulkdel.export.rows import Dialect, Parsed, ReadOptions
from bulkdel.export.sniff import CANDIDATES, recognise

__all__ = [
    "BLOCK",
    "CANDIDATES",
    "REASONS",
    "Dialect",
    "Export",
    "Fingerprint",
    "InvalidRows",
    "Parsed",
    "Preflight",
    "ReadOptions",
    "fingerprint",
    "open_export",
    "preflight",
    "recognise",
]
