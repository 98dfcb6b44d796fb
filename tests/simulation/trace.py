"""The trace of one run: a line for each thing that happens, with its time. README.md says how to read it."""

from __future__ import annotations

from collections.abc import Callable


class Trace:
    """Collects the lines. now: seconds since the world began."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Add one line."""
        self.lines.append(f"{self._now():15.6f} {text}")
