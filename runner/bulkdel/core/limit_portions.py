"""--limit divided among the shards of a run, in the order of the export. Pure."""

from __future__ import annotations


class LimitPortions:
    """How many ids each shard may settle. left: ids that no shard has; None without a limit."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit

    def take(self, remaining: int) -> int | None:
        """A portion for a shard with so many ids remaining: 0 when nothing is left, None without a limit."""
        if self.left is None:
            return None
        portion = min(self.left, remaining)
        self.left -= portion
        return portion

    def give_back(self, ids: int) -> None:
        """A shard has left so many ids of its portion. Another shard may settle them."""
        if self.left is not None:
            self.left += ids
