"""How long a test waits for an event: one limit for all, far beyond what any of them needs."""

from __future__ import annotations

import os

WAIT_MAX_S = 300 * float(os.environ.get("TESTS_SLOWNESS", "1"))
"""Seconds. A test that waits longer fails. TESTS_SLOWNESS multiplies the limit, for a machine that is very slow."""
