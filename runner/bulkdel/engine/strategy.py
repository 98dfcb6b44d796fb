"""What the records of a chunk stand for: accounts that exist, or accounts that are created.

`chunk_steps` does the same steps for both. `id_strategy` and `creation_strategy` answer what differs: how records are
looked up, how they are sent, what an accepted request has done, and what the log notes of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from bulkdel.core.absence import odd_in_path
from bulkdel.core.account_match import Instant
from bulkdel.core.chunk_state import ChunkState, Evidence, Found, LookUp, Send
from bulkdel.core.decision import Decision
from bulkdel.core.guards import Spared
from bulkdel.core.record import Chunk, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.engine.session_context import SessionContext
from bulkdel.http.client import WorkerStatus
from bulkdel.job import Account

WITHOUT_ROW = "To go on without this row, add --exclude FILE with its id to the same command"


class Strategy(ABC):
    """How one chunk is looked up and sent, and what its look-ups have shown.

    state: what follows from the responses, by the rules of the strategy.
    accounts: by id, as look-ups returned them; only with --backup. seen_at: by id, when its latest look-up began.
    unproven: ids that the latest look-ups did not find, without proof that they are absent.
    loose: ids whose latest look-up returned an account without that id. spared: by id, why its account is spared.
    noted: by id, what the log notes of a row besides its outcome.
    """

    state: ChunkState

    def __init__(self, chunk: Chunk, worker: WorkerStatus, context: SessionContext) -> None:
        self._chunk = chunk
        self._worker = worker
        self._context = context
        self.accounts: dict[str, Account] = {}
        self.seen_at: dict[str, tuple[float, float]] = {}
        self.unproven: set[str] = set()
        self.loose: set[str] = set()
        self.spared: dict[str, Spared] = {}
        self.noted: dict[str, dict[str, Any]] = {}

    @abstractmethod
    async def look_up(self, step: LookUp, intent_at: Instant | None) -> Evidence | None:
        """Ask which accounts exist; None when the look-up failed. intent_at: of the first intent for these records."""

    @abstractmethod
    def has_lagged(self, step: LookUp, found: Found) -> bool:
        """Whether a repeated look-up shows that the one before lagged."""

    @abstractmethod
    def redactor(self, ids: Sequence[str]) -> IdRedactor:
        """Make the redactor that takes these records out of messages."""

    def as_sent(self, step: Send) -> Records:
        """The records as the action gets them."""
        return step.records

    def accepted(self, step: Send, decision: Decision, intent_at: Instant | None) -> Decision:  # noqa: ARG002
        """Read an accepted request. intent_at: of the first intent for its records."""
        return decision

    def end(self) -> None:  # noqa: B027 - for ids nothing is reserved
        """Give up what was reserved for the chunk. Its outcomes are enqueued."""

    @cached_property
    def in_path(self) -> frozenset[str]:
        """The ids of the chunk that stand in the path of the request, and have a dot or a character that a URL encodes.

        Ids that only have a capital letter are left out: hardly a server ignores case in a path, and each of them would
        take a look-up.
        """
        odd = frozenset(filter(odd_in_path, self._chunk.records.ids))
        requests = self._context.action.calls(self._chunk.records) if odd else ()
        return odd.intersection(unquote(part) for request in requests for part in request.path.split("/"))

    @property
    def _old_doubt(self) -> bool:
        """Whether the latest intent is so old, by both clocks, that look-ups cannot lag behind its request any more."""
        return self._chunk.doubt is not None and self._context.lag_is_over(self._chunk.doubt.latest)
