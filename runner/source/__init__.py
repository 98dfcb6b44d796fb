"""Reading the export: bytes to rows, twice, the same both times. Knows nothing of requests, pace or outcomes."""

from runner.source.dialect import CANDIDATES
from runner.source.export import BLOCK, Export, Fingerprint, fingerprint, open_export
from runner.source.invalidfile import REASONS, write_invalid
from runner.source.jsonl import Parsed
from runner.source.options import Dialect, ReadOptions
from runner.source.preflight import Preflight, preflight
from runner.source.reading import read_parsed, read_rows
from runner.source.recognise import recognise

__all__ = [
    "BLOCK",
    "CANDIDATES",
    "REASONS",
    "Dialect",
    "Export",
    "Fingerprint",
    "Parsed",
    "Preflight",
    "ReadOptions",
    "fingerprint",
    "open_export",
    "preflight",
    "read_parsed",
    "read_rows",
    "recognise",
    "write_invalid",
]
