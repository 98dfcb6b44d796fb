"""The possible outcomes of a row, in the engine's own words, and the details of a response.

Knows nothing of how an outcome came about, and no API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from bulkdel.core.record import Records

Kind = Literal["done", "already", "absent", "refused", "unknown"]
"""done: the action was carried out. already: nothing was left to do. absent: there is no such account, a success that
is counted apart. refused: the API refuses it. unknown: nothing shows whether the action was carried out."""

Skip = Literal["excluded", "duplicate", "invalid"]
"""Why a row of the export is never sent."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SKIPS: tuple[Skip, ...] = get_args(Skip)
COUNTED: tuple[str, ...] = (*KINDS, *SKIPS)
"""Every final result of a row. A row without one is `remaining`."""

REMAINING = "remaining"

JOBS_OWN: tuple[Kind, ...] = ("done", "already", "absent")
"""The outcomes that a job names for people."""


USER = "user"
"""What an id means in most jobs."""


@dataclass(frozen=True, slots=True)
class OutcomeWords:
    """A job's words for what it does.

    names: what people call `done`, `already` and `absent`; an outcome that is left out does not occur in this job.
        `done` is a participle: "deleted" makes "Nothing was deleted." and "5 ids will be deleted".
    verb: what the job does to an account: "delete", "resign". noun: what an id means: "user", "group".
    keys: what scripts call these outcomes, in the summary and in `results`. Default: the engine's words.
    columns: the columns of `results` with the details of a response, each with the member of the log that it shows:
    `code`, `message`, `request_id`, or `detail.NAME`.
    """

    names: Mapping[str, str] = field(default_factory=lambda: {kind: kind for kind in JOBS_OWN})
    verb: str = "delete"
    noun: str = USER
    keys: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(
        default_factory=lambda: {"code": "code", "message": "message", "requestId": "request_id"}
    )

    @property
    def done(self) -> str:
        """The participle of the verb."""
        return self.names.get("done", "done")

    @property
    def nothing(self) -> str:
        """The beginning of "Nothing was deleted."."""
        return f"Nothing was {self.done}"

    @property
    def named_keys(self) -> Mapping[str, str]:
        """The word for scripts of each outcome that has a name."""
        return {kind: self.keys.get(kind, kind) for kind in self.names}


class Detail(NamedTuple):
    """The details of a response about a chunk or an id. Every field is optional: a gateway gives fewer than the API.

    code: distinguishes refusals. message: for people. request_id: what the API's support asks for.
    extra: what only this API returns, by its own names; the log has it as `detail`.
    """

    code: int | str | None = None
    message: str | None = None
    request_id: str | None = None
    extra: tuple[tuple[str, int | str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Only what is known, by the names of the log."""
        named = {"code": self.code, "message": self.message, "request_id": self.request_id}
        known: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return {**known, "detail": dict(self.extra)} if self.extra else known

    @property
    def refusal(self) -> tuple[object, ...]:
        """The values that distinguish refusals: the code, and what only this API returns."""
        return self.code, self.extra

    def __str__(self) -> str:
        parts = [
            f"code {_plain(self.code)}" if self.code is not None else "",
            *(f"{name} {_plain(value)}" for name, value in self.extra),
            repr(self.message) if self.message else "",
            f"request {_plain(self.request_id)}" if self.request_id else "",
        ]
        return ", ".join(part for part in parts if part) or "no details"


NOTHING_SAID = Detail()


def _plain(value: int | str) -> str:
    """A value of the server for a terminal, which a control character could make show something else."""
    return text if (text := str(value)).isprintable() else repr(text)


TAKEN = "taken"
"""The reason of a refusal without a request: another account has a key of the account that was to be created."""


UNPROVEN = "unproven"
"""The reason of an outcome that only a response of the server shows: nothing proves that it was not so before."""

RE_CREATED = "re-created"
"""The reason of an outcome: the account that was meant is gone, and a newer one has the id."""


class Reduction(NamedTuple):
    """A row without something that the API may refuse: a reference to what no longer exists, such as a department.

    payload: what is left of the row. lost: what was left out, in words. references: what tells each of these references
    from others, the same in every row that has it.
    """

    payload: bytes
    lost: str
    references: tuple[str, ...] = ()


class Settled(NamedTuple):
    """Records of one chunk that ended alike.

    reason: where the kind alone would claim too much: `unproven`, `re-created`, `perhaps re-created`, `taken`, or
        `without` and what the account lacks. docs/reference.md lists all.
    attempts: requests that it took in a row, the last one included.
    """

    kind: Kind
    records: Records
    detail: Detail = NOTHING_SAID
    reason: str | None = None
    attempts: int = 1

    @property
    def by_the_api(self) -> bool:
        """Whether the API has refused these records, or returned other accounts for them. Excludes `taken`."""
        return self.kind == "refused" and self.reason != TAKEN
