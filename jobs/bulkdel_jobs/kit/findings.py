"""What a check of a job has found: one line a check. Owns the words ok, WRONG and skipped."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bulkdel.errors import BulkdelError

SEEN_MAX = 90
"""Characters of what a check saw that its line shows when nothing is wrong."""


class Finding(NamedTuple):
    """The result of one check.

    name: `group/check`. ok: None when the check could not be made. seen: what happened. advice: what to do about it.
    """

    name: str
    ok: bool | None
    seen: str
    advice: str = ""

    @property
    def line(self) -> str:
        """For people."""
        word = {True: "ok", False: "WRONG", None: "skipped"}[self.ok]
        seen = self.seen if len(self.seen) <= SEEN_MAX or not self.ok else f"{self.seen[:SEEN_MAX]}…"
        return f"{word:<8}{self.name:<24} {seen}" + (f". {self.advice}." if self.advice and not self.ok else "")

    def to_json(self) -> dict[str, Any]:
        """For programs: ok is null for a check that was skipped."""
        return self._asdict()


@dataclass(slots=True)
class Findings:
    """All findings of one check of a job, in the order of the checks."""

    found: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """How many checks found something wrong."""
        return sum(finding.ok is False for finding in self.found)

    def add(self, name: str, *, ok: bool, seen: str, advice: str = "") -> bool:
        """Note the result of a check; return `ok`."""
        self.found.append(Finding(name, ok, seen, advice))
        return ok

    def skip(self, name: str, why: str, advice: str = "") -> None:
        """Note that a check could not be made."""
        self.found.append(Finding(name, None, why, advice))

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Make an exception of the job a finding of this check. Its text is left out, as in a run: it may be secret."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the job raises is what the check has found
            self.add(name, ok=False, seen=raised(error), advice="A run halts here. Return a decision")


def raised(error: BaseException) -> str:
    """The type of an exception and its innermost line. The text only of those that are written for people."""
    if isinstance(error, BulkdelError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"raised {type(error).__qualname__}{where}"
