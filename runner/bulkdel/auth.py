"""What the engine asks of a job's credentials. Owns the contract; has never seen a token.

A generation numbers the credentials: it grows with every refresh, so that a reply can be told to belong to old ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Auth(Protocol):
    """Credentials that may go stale. `bulkdel.errors.Halted` from any method means that going on is pointless.

    The way of a request: pass the throttle, then ask for `headers`; where there are none, `ensure` and pass the
    throttle *again* (passes that were held while somebody signed in would all leave at once).
    """

    @property
    def pool(self) -> str | None:
        """What the credentials act on (a user pool, a tenant); None before `ensure` has returned once."""
        ...

    @property
    def users(self) -> Sequence[str]:
        """Whom the credentials may belong to, as far as they name anybody: never deleted."""
        ...

    @property
    def waiting(self) -> str | None:
        """Why nothing goes out, for the progress bar; None while there are usable credentials."""
        ...

    def hide(self, text: str) -> str:
        """Take the credentials out of what a server said: it may quote the request, and what it says is printed."""
        ...

    async def ensure(self) -> None:
        """Return when usable credentials are there; however many wait, they are asked for once. Raises Halted.

        May be cancelled at any moment: whoever waits beside it takes over.
        """
        ...

    def headers(self) -> tuple[Mapping[str, str], int] | None:
        """Headers of a request that leaves now, and their generation; None when stale: `ensure`, then again."""
        ...

    def rejected(self, generation: int) -> None:
        """The server did not accept the headers of this generation. Raises Halted when fresh ones cannot help."""
        ...

    def accepted(self, generation: int) -> None:
        """The server accepted the headers of this generation, whatever it said about the rest."""
        ...
