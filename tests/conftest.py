"""What holds for every test. An `async def` test runs as tests/loops.py says.

A value test of Hypothesis has no deadline, because a busy machine is no failure. SIGHUP has its default action, also
under `nohup make test`: the commands that the tests start would inherit "ignored".
"""

from __future__ import annotations

import signal

from hypothesis import settings

from tests.examples import examples
from tests.loops import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]

signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("tests", deadline=None, max_examples=examples(100))
settings.load_profile("tests")
