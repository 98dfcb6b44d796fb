"""What goes wrong on purpose. Owns the switches, the draw of a fault for a request, and the rate limit.

It decides; the server acts. Chance comes from a seeded generator that is passed in, time as an argument.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any, Literal, get_args

UnknownIds = Literal["accept", "refuse", "partial"]
Duplicates = Literal["accept", "refuse"]
RetryAfter = Literal["seconds", "date"]
FaultStyle = Literal["envelope", "http"]
Effect = Literal["none", "half", "all"]

_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "unknown_ids": get_args(UnknownIds),
    "duplicates_in_chunk": get_args(Duplicates),
    "retry_after": (None, *get_args(RetryAfter)),
    "fault_style": get_args(FaultStyle),
    "unsuccessful_effect": get_args(Effect),
}

_SIGNED = frozenset({"date_offset_s", "created_offset_s"})
"""Numbers that may be negative."""

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


@dataclass(frozen=True, slots=True)
class Switches:
    """Everything about the sandbox that can be otherwise. All faults are off by default.

    Open points of the API (genauth-api.md):
    unknown_ids: a chunk with an id that does not exist is accepted silently / refused whole (404, apiCode 2004,
        nothing done) / its known ids are deleted and the 404 is answered ("partial").
    duplicates_in_chunk: the same id twice in one chunk is harmless / refused with 400.
    retry_after: a 429 carries Retry-After as seconds, as an HTTP date, or not at all.
    retry_after_s: what it says, unless the rate limit knows better.
    any_id_shape: user ids need not be 24 lower-case hex digits; off, any other is answered 400.

    Faults by chance; each share is of all requests to `fault_paths`, 0 to 1, and at most one hits a request:
    share_429, share_500, share_502, share_503: that statusCode, nothing done.
    share_html: a web page with HTTP 200, nothing done. share_drop_before: the connection closes, nothing done.
    share_drop_after, share_500_after, share_truncated_after, share_malformed_after: it was done, and then the
        connection closes / statusCode 500 / half a body / a statusCode that is no integer.
    share_unsuccessful: a deletion answers `success: false`. unsuccessful_effect: what it did nevertheless.
    fault_style: faulty statusCodes come in an envelope with HTTP 200, or with the real HTTP status ("http": 502 and 503
        as a web page, the others as an envelope).
    fault_paths: paths such as "/api/v3/delete-users-batch", for latency_after_s too; empty for all.

    Certain faults:
    latency_s and jitter_s (evenly spread, on top): before the effect. latency_after_s: between effect and answer.
    poisonous: id, as sent → (statusCode, apiCode or None): a chunk with it is refused whole and nothing is done.
    forbidden: every deletion is answered 403.
    liars: ids, as sent, that are reported deleted and stay.
    blind: look-ups by id find nobody, whoever exists; lists are as ever.
    lag_s: look-ups by id read a replica that learns of a deletion this much later; lists are as ever.
    date_offset_s: the clock of the `Date` header, relative to this machine's. Negative: behind.
    created_offset_s: the clock that writes `createdAt` of users created from now on, relative to this machine's.
        -3600 with `date_offset_s` 0: the server writes its local time, one hour west of UTC, with a `Z`.
    no_date: the `Date` header is empty.
    rate_per_s: more requests than this in any second lock everyone out (429) for lockout_s; None for no limit.
    token_lifetime_s: a token older than this is answered statusCode 401. Holds for tokens already handed out too.
    token_announced_s: what `expires_in` says; None for the truth, rounded up.
    pool_id: the pool of the tokens from now on; None for the sandbox's own.
    look_up_max: a look-up tells of so many users at most; None for all.
    split_commas: a look-up splits each id at its commas, and looks for the parts.
    token_user: the user id that tokens from now on name as the one they belong to; None for nobody.
    """

    unknown_ids: UnknownIds = "accept"
    duplicates_in_chunk: Duplicates = "accept"
    retry_after: RetryAfter | None = None
    retry_after_s: float = 1.0
    any_id_shape: bool = False

    share_429: float = 0.0
    share_500: float = 0.0
    share_502: float = 0.0
    share_503: float = 0.0
    share_html: float = 0.0
    share_drop_before: float = 0.0
    share_drop_after: float = 0.0
    share_500_after: float = 0.0
    share_truncated_after: float = 0.0
    share_malformed_after: float = 0.0
    share_unsuccessful: float = 0.0
    unsuccessful_effect: Effect = "none"
    fault_style: FaultStyle = "envelope"
    fault_paths: frozenset[str] = frozenset()

    latency_s: float = 0.0
    jitter_s: float = 0.0
    latency_after_s: float = 0.0
    poisonous: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    forbidden: bool = False
    liars: frozenset[str] = frozenset()
    blind: bool = False
    lag_s: float = 0.0
    date_offset_s: float = 0.0
    created_offset_s: float = 0.0
    no_date: bool = False
    rate_per_s: float | None = None
    lockout_s: float = 3.0
    token_lifetime_s: float = 7200.0
    token_announced_s: int | None = None
    pool_id: str | None = None
    token_user: str | None = None
    look_up_max: int | None = None
    split_commas: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")
        for one in fields(self):
            self._check_type(one.name, getattr(self, one.name), one.default)
        shares = self.shares()
        if any(share < 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            raise ValueError(f"shares must be between 0 and 1, and 1 at most together: {shares}")

    @staticmethod
    def _check_type(name: str, value: Any, default: Any) -> None:
        """Refuse what would only fail in the middle of a request; switches may come from JSON."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            bool: isinstance(value, bool),
            float: number and (value >= 0 or name in _SIGNED),
            type(None): value is None or isinstance(value, str) or (number and value >= 0),
        }
        if not fits.get(type(default), True):
            raise ValueError(f"{name} cannot be {value!r}")

    def strikes(self, path: str) -> bool:
        """Whether faults are meant for `path`."""
        return not self.fault_paths or path in self.fault_paths

    def shares(self) -> dict[str, float]:
        """Share per fault, of those that are not 0."""
        return {fault: share for name, fault in _SHARES if (share := getattr(self, name))}

    def changed(self, changes: Mapping[str, Any]) -> Switches:
        """Return a copy with `changes`, which may come from JSON: lists for sets and tuples. ValueError if unfit."""
        known = {one.name for one in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no such switch: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        ready = dict(changes)
        for name in ready.keys() & {"liars", "fault_paths"}:
            ready[name] = frozenset(ready[name])
        if "poisonous" in ready:
            ready["poisonous"] = {id_: (int(codes[0]), codes[1]) for id_, codes in ready["poisonous"].items()}
        return replace(self, **ready)


_SHARES = [(one.name, one.name.removeprefix("share_")) for one in fields(Switches) if one.name.startswith("share_")]


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
        script = self._scripts.get(path)
        if script:
            return script.popleft()
        if not switches.strikes(path):
            return None
        for name, share in switches.shares().items():
            if point < share:
                return name
            point -= share
        return None

    def latency_s(self, switches: Switches) -> float:
        """How long one request waits before it has its effect."""
        return switches.latency_s + (self._rng.uniform(0, switches.jitter_s) if switches.jitter_s else 0)


class RateLimit:
    """The limit of the public cloud: so many requests in any second, then nothing for a while."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque()
        self._locked_until = float("-inf")

    def locked_s(self, now: float, switches: Switches) -> float:
        """Take note of a request; return for how long it, and everyone, is locked out (0: let through)."""
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
