"""The worlds that can be played, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.simulation.memberships import MembershipWorld
from tests.simulation.restores import RestoreWorld
from tests.simulation.shares import SharesWorld
from tests.simulation.takeovers import TakeoverWorld
from tests.simulation.trace import Trace
from tests.simulation.world import DeletionWorld


class Playable(Protocol):
    """What is drawn from a seed and played. drawn: what was drawn. said: how each session ended. trace: see `Trace`."""

    @property
    def drawn(self) -> Any:
        """What was drawn."""

    @property
    def said(self) -> list[str]:
        """How each session ended."""

    @property
    def trace(self) -> Trace:
        """What happened."""

    def play(self) -> list[str]:
        """Play it. Returns what is wrong."""


WORLDS: Mapping[str, Callable[[int, Path], Playable]] = {
    "deletion": DeletionWorld,
    "restore": RestoreWorld,
    "memberships": MembershipWorld,
    "takeovers": TakeoverWorld,
    "shares": SharesWorld,
}
