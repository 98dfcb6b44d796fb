"""What holds for every test: a value test of Hypothesis has no deadline, because a busy machine is no failure.

SIGHUP has its default action, also under `nohup make test`: the commands that the tests start would inherit "ignored".
"""

from __future__ import annotations

import signal

from hypothesis import settings

signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
