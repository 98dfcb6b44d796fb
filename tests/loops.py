"""How an `async def` test runs: in a loop of its own; with `@pytest.mark.fake_clock`, in one whose time jumps to the
next timer instead of passing, so that tests of waiting do not wait.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors

import pytest

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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test; leave every other test to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    fake = pyfuncitem.get_closest_marker("fake_clock") is not None
    with asyncio.Runner(loop_factory=FakeClockLoop if fake else None) as runner:
        runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
