"""The command line: `bulkdel`."""

from runner.cli.app import main

__all__ = ["main"]
