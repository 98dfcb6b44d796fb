"""What holds for every test: an `async def` test has a loop of its own; a busy machine is no failure.

SIGHUP has its default action, also under `nohup make test`: the commands that the tests start would inherit "ignored".
"""

from __future__ import annotations

import asyncio
import inspect
import signal

import pytest
from hypothesis import settings

from tests.fakeclock import FakeClockLoop

signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in a loop of its own; leave every other test to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    fake = pyfuncitem.get_closest_marker("fake_clock") is not None
    with asyncio.Runner(loop_factory=FakeClockLoop if fake else None) as runner:
        runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
