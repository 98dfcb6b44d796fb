"""Which fault a request suffers, and the rate limit. Knows no request: the server acts on what is decided here."""

from __future__ import annotations

from collections import defaultdict, deque
from random import Random

from bulkdel_jobs.sandbox_switches import Switches

BEFORE = frozenset({"html", "drop_before"})
AFTER = frozenset({"drop_after", "500_after", "truncated_after", "malformed_after"})
UNSUCCESSFUL = "unsuccessful"
"""Deletions only: `success` is false, and as much was done as `Switches.unsuccessful_effect` says."""


def is_fault(name: str) -> bool:
    """Whether `name` can be scripted.

    A statusCode ("413": an envelope, styled as `fault_style` says), an HTTP status ("http:302": bare, without an
    envelope), or one of html, drop_before, drop_after, 500_after, truncated_after, malformed_after, unsuccessful.
    """
    code = name.removeprefix("http:")
    return name in BEFORE | AFTER | {UNSUCCESSFUL} or (len(code) == 3 and code.isdecimal() and code >= "200")  # noqa: PLR2004 - digits of a status


class Faults:
    """Draws the fault of each request: from the script of its path while that lasts, else by chance."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._scripts: defaultdict[str, deque[str | None]] = defaultdict(deque)

    def script(self, path: str, *faults: str | None) -> None:
        """Let the next requests to `path` suffer exactly these (see `is_fault`), in order; None spares one."""
        if unknown := [name for name in faults if name is not None and not is_fault(name)]:
            raise ValueError(f"no such fault: {unknown}")
        self._scripts[path].extend(faults)

    def draw(self, path: str, switches: Switches) -> str | None:
        """Return the fault of one request, None for none. One draw of the generator a request, whatever the shares."""
        point = self._rng.random()
        if self._scripts[path]:
            return self._scripts[path].popleft()
        for name, share in switches.shares().items() if switches.strikes(path) else ():
            if point < share:
                return name
            point -= share
        return None

    def latency_s(self, switches: Switches) -> float:
        """How long one request waits before it has its effect."""
        return switches.latency_s + (self._rng.uniform(0, switches.jitter_s) if switches.jitter_s else 0)


class RateLimit:
    """The limit of the public cloud: so many requests in any second, then 429 for a while."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque()
        self._locked_until = float("-inf")

    def locked_s(self, now: float, switches: Switches) -> float:
        """Count a request; return for how long all clients are locked out (0: let through)."""
        if switches.rate_per_s is None:
            return 0.0
        if now < self._locked_until:
            return self._locked_until - now
        while self._arrivals and self._arrivals[0] <= now - 1:
            self._arrivals.popleft()
        self._arrivals.append(now)
        if len(self._arrivals) <= switches.rate_per_s:
            return 0.0
        self._arrivals.clear()
        self._locked_until = now + switches.lockout_s
        return switches.lockout_s
