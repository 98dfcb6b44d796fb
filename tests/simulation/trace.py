"""The trace of one run: a line for each thing that happens, with its time. The same seed gives the same lines.

1.250000 → delete rows 3 4 9        a request leaves the program
1.262000   server: 2 accounts deleted
1.281000 ← 404 2004                 its response arrives
1.281000 ← no response: …           or does not
1.300000   safe: intent 3 4 9       these entries of the log survive a loss of power from now on
9.000000 ** power at the disk       the machine crashes
"""

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
