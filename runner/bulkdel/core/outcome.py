"""What can become of an id. Owns the eight words and their sum; knows nothing of how an outcome came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from bulkdel.core.ranges import Ranges
from bulkdel.core.record import Record, positions_of
from bulkdel.core.row_filter import Skip

Kind = Literal["deleted", "absent", "refused", "unknown"]
"""deleted · absent (it did not exist: a success, counted apart) · refused · unknown (nothing could tell)."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SKIPS: tuple[Skip, ...] = get_args(Skip)
COUNTED: tuple[str, ...] = (*KINDS, *SKIPS)
"""Everything a row can end as; what is in none of them is `remaining`."""


class Detail(NamedTuple):
    """What the server said about a chunk or an id, in the API's own terms. All fields optional: gateways say less."""

    status_code: int | None = None
    api_code: int | None = None
    message: str | None = None
    request_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Only what is known, under the API's names."""
        named = {
            "statusCode": self.status_code,
            "apiCode": self.api_code,
            "message": self.message,
            "requestId": self.request_id,
        }
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Detail:
        """Inverse of `to_json`."""
        return cls(data.get("statusCode"), data.get("apiCode"), data.get("message"), data.get("requestId"))

    @property
    def code(self) -> tuple[int | None, int | None]:
        """What tells one refusal from another: statusCode and apiCode."""
        return self.status_code, self.api_code

    def __str__(self) -> str:
        parts = [
            f"statusCode {self.status_code}" if self.status_code is not None else "",
            f"apiCode {self.api_code}" if self.api_code is not None else "",
            repr(self.message) if self.message else "",
            f"requestId {self.request_id}" if self.request_id else "",
        ]
        return ", ".join(part for part in parts if part) or "no details"


NOTHING_SAID = Detail()


class Settled(NamedTuple):
    """Records of one chunk that ended alike.

    reason: a word where the kind alone would claim too much: `unproven`, `re-created`, `perhaps re-created`.
    attempts: requests that it took in a row, the last one included.
    """

    kind: Kind
    records: Sequence[Record]
    detail: Detail = NOTHING_SAID
    reason: str | None = None
    attempts: int = 1

    @property
    def ranges(self) -> Ranges:
        """The positions, half-open."""
        return positions_of(self.records)
