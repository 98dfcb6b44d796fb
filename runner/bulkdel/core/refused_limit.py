"""The limit of refused ids (--max-refused): a session that exceeds it halts."""

from __future__ import annotations

from dataclasses import dataclass

from bulkdel.core.retry import number_or_share

SETTLED_MIN = 1_000  # ids that a session settles before the share of refused ones means anything


@dataclass(frozen=True, slots=True)
class RefusedLimit:
    """How many ids may be refused.

    Exactly one field is set. ids: a number of ids. share: a share of what the session settled.
    """

    ids: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> RefusedLimit:
        """Read `100` or `1%`. Raises ValueError."""
        limit = number_or_share(text.strip())
        return cls(ids=limit) if isinstance(limit, int) else cls(share=float(limit))

    def exceeded(self, refused: int, settled: int) -> bool:
        """Whether `refused` of `settled` ids are more than the limit allows."""
        if settled < SETTLED_MIN and self.ids is None:
            return False
        return refused > (self.ids if self.ids is not None else (self.share or 0.0) * settled)
