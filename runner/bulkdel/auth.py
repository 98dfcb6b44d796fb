"""What the engine needs from a job's credentials. Owns the contract; never sees a token.

A generation numbers the credentials. It grows with every refresh, so that a response can be assigned to older ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Auth(Protocol):
    """Credentials that may go stale. `bulkdel.errors.Halted` from any method means that going on is pointless.

    The order for a request: pass the rate limiter, then read `headers`. If there are none, await `ensure` and pass the
    rate limiter *again*: passes kept during a sign-in would all leave at once.
    """

    @property
    def pool(self) -> str | None:
        """What the credentials act on (a user pool, a tenant); None before `ensure` has returned once."""
        ...

    @property
    def users(self) -> Sequence[str]:
        """The accounts that the credentials may belong to, where they name any. They are never deleted."""
        ...

    @property
    def waiting(self) -> str | None:
        """Why no request can be sent, for the progress; None while there are usable credentials."""
        ...

    def hide(self, text: str) -> str:
        """Redact the credentials in a text of the server: it may quote the request, and it is printed."""
        ...

    async def ensure(self) -> None:
        """Return when there are usable credentials. However many callers wait, one sign-in serves them. Raises Halted.

        May be cancelled at any moment: another waiting caller takes over.
        """
        ...

    def headers(self) -> tuple[Mapping[str, str], int] | None:
        """Headers of a request that leaves now, and their generation; None when stale: `ensure`, then again."""
        ...

    def rejected(self, generation: int) -> None:
        """The server did not accept the headers of this generation. Raises Halted when fresh ones cannot help."""
        ...

    def accepted(self, generation: int) -> None:
        """The server accepted the headers of this generation, whatever the rest of its response says."""
        ...
