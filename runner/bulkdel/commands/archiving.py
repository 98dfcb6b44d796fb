"""Whether a stop is archived (`--archive`). The archive itself loads the report, which most runs do not need."""

from __future__ import annotations

from pathlib import Path

from bulkdel.settings import CommonSettings


def archive_if_asked(log: Path, settings: CommonSettings) -> None:
    """See `bulkdel.commands.archive.archive`."""
    if settings.archive is not None:
        from bulkdel.commands.archive import archive  # noqa: PLC0415 - it loads the report

        archive(log, settings.archive, settings)
