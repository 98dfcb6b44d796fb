"""What holds for every test. An `async def` test runs as tests/loops.py says.

Tests of the real command, campaigns and simulation are about effects, so they run without coverage. Those that take
lines which no other test takes are the exception: `traced`.

A value test of Hypothesis has no deadline, because a busy machine is no failure. SIGHUP and SIGINT have their usual
action, also under `nohup make test &`: the commands that the tests start would inherit that it is ignored.

The search for cycles is off while the tests are collected. Later it skips what was collected, because all of it stays.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import examples
from tests.loops import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()

settings.register_profile("tests", deadline=None, max_examples=examples(100))
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_tests() -> None:
    """A run in the process of a test writes nothing into the developer's home either."""
    from tests.harness import state_home

    os.environ["XDG_STATE_HOME"] = state_home()


UNTRACED = {Path(__file__).with_name(name) for name in ("campaigns", "e2e", "simulation")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of these folders as untraced, unless one is marked as traced."""
    for item in items:
        if not UNTRACED.isdisjoint(item.path.parents) and item.get_closest_marker("traced") is None:
            item.add_marker(pytest.mark.untraced)


def pytest_collection_finish() -> None:
    """Look for cycles from now on, among the objects of the tests."""
    gc.freeze()
    gc.enable()
