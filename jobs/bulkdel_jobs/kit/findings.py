"""What a check of a job has found: one line a check. Owns the words ok, WRONG and skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
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
class JobFindings:
    """All findings of one check of a job, in the order of the checks.

    package: the top-level package of the job. The place of an exception is the innermost line in it.
    """

    package: str = ""
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
    def watch(self, name: str, advice: str = "") -> Iterator[None]:
        """Make an exception of the job a finding of this check. Its text is left out, as in a run: it may be secret."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the job raises is what the check has found
            seen = f"{raised(error, self.package)}: a run halts here"
            self.add(name, ok=False, seen=seen, advice=advice or "Raise no exception")


def raised(error: BaseException, package: str = "") -> str:
    """The type of an exception and its innermost line in `package`. The text only of those written for people."""
    if isinstance(error, BulkdelError):
        return f"{type(error).__name__}: {error}"
    frames = [(frame.f_globals.get("__name__", ""), frame.f_code, line) for frame, line in walk_tb(error.__traceback__)]
    own = [frame for frame in frames if frame[0].partition(".")[0] == package] or frames
    _, code, line = own[-1]
    return f"raised {type(error).__qualname__} at {Path(code.co_filename).name}, line {line}"
