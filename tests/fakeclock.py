"""An event loop whose time jumps to the next timer instead of passing, so that tests of waiting do not wait.

A test runs in it by `@pytest.mark.fake_clock`.
"""

from __future__ import annotations

import asyncio
import selectors

TURN_S = 1e-7
"""What one turn of the loop takes. Without it aiolimiter, short of 1e-17 of a request, would ask for now forever."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        self.now += TURN_S
        if not found:
            if timeout is None:
                raise RuntimeError("nothing is left that could ever happen")
            self.now += timeout
        return found


class FakeClockLoop(asyncio.SelectorEventLoop):
    """It begins at time 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def now() -> float:
    return asyncio.get_running_loop().time()
