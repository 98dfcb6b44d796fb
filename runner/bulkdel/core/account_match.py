"""An id in doubt exists: is it the account that was meant, or a newer one with the same id? Owns that comparison.

Three clocks are involved: ours, the server's (its `Date` header), and the one that writes `createdAt`. Each may be
wrong: a machine without a battery, a server that writes its local time with a `Z`. So no verdict depends on one clock:

- OLD, the account that was meant: its `createdAt` is no later than one that was sampled before anything was sent (one
  clock wrote both, so its offset does not matter), or it is older than the intent by more than any time zone. When the
  server's clock was set back since then, both limits are moved back by as much.
- NEW: its `createdAt` is later than the intent by our clock and by the server's, and not in the future; no sign speaks
  against these clocks; and some ids of the same look-up are gone while no account that was meant is left.
- UNDATED: all other cases, and always without a `Date` or a `createdAt`.

Some APIs give the day only. It arrives as midnight, so an account with such a time may have been created until the end
of that day.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any, NamedTuple

from bulkdel.core.look_up_lag import LAG_MAX_S

SKEW_S = 300.0
"""How far apart two correct clocks may be."""

ZONE_MAX_S = 14 * 3600.0
"""No time zone is farther from UTC (UTC+14, Kiribati; in the west UTC-12)."""

DAY_S = 86_400.0

REUSE_AFTER_S = 24 * 3600.0
"""After this time an email or a phone number may belong to another account."""


def latest_s(at: float) -> float:
    """The latest moment that a time of an API may stand for: midnight in UTC may stand for the whole day."""
    return at + DAY_S - 1 if at % DAY_S == 0 else at


class Presence(enum.Enum):
    """Which account a look-up has found."""

    OLD = "the account that was meant"
    NEW = "created after the intent: another account under the same id"
    UNDATED = "cannot tell whether it is the account that was meant"
    PROTECTED = "its record carries an id that must never be sent"
    REACHED = "it is in the target state already, so nothing has to be sent"
    NEVER_GONE = "the account that is to be created is there, because it was never deleted"
    TAKEN = "another account has one of the keys of the account that is to be created"


class Instant(NamedTuple):
    """When an entry was written to the log.

    at: by our clock, as in the log.
    ahead_s: how far the server's clock was ahead of ours (negative: behind); None when no response had a Date.
    """

    at: str
    ahead_s: int | None = None

    @property
    def ours(self) -> float:
        """By our clock, epoch seconds."""
        return datetime.fromisoformat(self.at).timestamp()

    @property
    def servers(self) -> float | None:
        """By the server's clock, epoch seconds; None when it is unknown."""
        return None if self.ahead_s is None else self.ours + self.ahead_s


class Doubt(NamedTuple):
    """When rows without an outcome were sent.

    since: their first intent. latest: the latest one in the log. No request for them has left INTENT_AGE_MAX_S or more
    after it, except after a long wait: then the request does not wait for its new intent, which a kill may take away.
    """

    since: Instant
    latest: Instant


class Sampled(NamedTuple):
    """The `createdAt` values of the sample that was looked up before the first id was sent.

    newest: the latest value that was not in the future, epoch seconds; None without one.
    future_s: how far the latest value was in the future; 0 when it was not.
    ahead_s: how far the server's clock was ahead of ours; None when no response had a Date.
    """

    newest: float | None = None
    future_s: int = 0
    ahead_s: int | None = None

    @classmethod
    def of(cls, created: Iterable[float | None], now: Instant) -> Sampled:
        """Read a sample that was looked up at `now`."""
        limit = (now.ours if now.servers is None else now.servers) + SKEW_S
        dated = [at for at in created if at is not None]
        newest = max((at for at in dated if at <= limit), default=None)
        future_s = max((at - limit + SKEW_S for at in dated if at > limit), default=0)
        return cls(newest, int(future_s), now.ahead_s)

    @classmethod
    def from_json(cls, sample: Mapping[str, Any] | None) -> Sampled:
        """Read what `to_json` wrote into the header's sample."""
        known = sample or {}
        newest = known.get("newest")
        at = None if newest is None else datetime.fromisoformat(newest).timestamp()
        return cls(at, known.get("future_s", 0), known.get("ahead_s"))

    def to_json(self) -> dict[str, Any]:
        """The members of the header's sample."""
        newest = None if self.newest is None else datetime.fromtimestamp(self.newest, UTC).isoformat()
        return {"newest": newest, "future_s": self.future_s, "ahead_s": self.ahead_s}

    @property
    def trusted(self) -> bool:
        """Whether the sample had a `createdAt`, and none in the future."""
        return self.newest is not None and not self.future_s


def presence(
    created_at: float | None, moment: Instant, sampled: Sampled, now: Instant, *, trusted: bool = True
) -> Presence:
    """Compare an account's creation with the moment of the intent (or of the outcome), for an id that may be reused.

    created_at: epoch seconds.
    trusted: False when a clock is known to be wrong. Then no account counts as NEW.
    """
    if created_at is None:
        return Presence.UNDATED
    latest = latest_s(created_at)
    if sampled.newest is not None and latest <= sampled.newest - _set_back_s(sampled.ahead_s, now):
        return Presence.OLD
    if moment.servers is None or now.servers is None:
        return Presence.UNDATED
    first, last = sorted((moment.ours, moment.servers))
    if latest < first - ZONE_MAX_S - _set_back_s(moment.ahead_s, now):
        return Presence.OLD
    later = last + SKEW_S < created_at <= now.servers + SKEW_S
    return Presence.NEW if later and trusted and sampled.trusted else Presence.UNDATED


def _set_back_s(ahead_s: int | None, now: Instant) -> float:
    """How far the server's clock was set back since it was `ahead_s` ahead of ours.

    A difference up to the skew counts as 0: a Date has whole seconds, and a response takes time.
    """
    if ahead_s is None or now.ahead_s is None:
        return inf
    back_s = ahead_s - now.ahead_s
    return back_s if back_s > SKEW_S else 0.0


def presences(
    created: Mapping[str, float | None],
    gone: int,
    moment: Instant,
    sampled: Sampled,
    now: Instant,
    *,
    reusable: bool,
    resend: bool,
) -> dict[str, Presence]:
    """Judge the accounts that one look-up of ids in doubt has found.

    created: `createdAt` by id. gone: how many of the other ids are proven not to exist. moment: of their intent.
    reusable: whether another account may have the same id. If not, each account is the one that was meant.
    resend: whether `--in-doubt resend` was given: then UNDATED accounts count as OLD.
    """
    if not reusable:
        return dict.fromkeys(created, Presence.OLD)
    trusted = not future(created.values(), now) and age_s(moment, now) <= REUSE_AFTER_S
    found = {id_: presence(at, moment, sampled, now, trusted=trusted) for id_, at in created.items()}
    had_effect = gone > 0 and Presence.OLD not in found.values()
    for id_, seen in found.items():
        if seen is Presence.UNDATED or (seen is Presence.NEW and not had_effect):
            found[id_] = Presence.OLD if resend else Presence.UNDATED
    return found


def future(created: Iterable[float | None], now: Instant) -> bool:
    """Whether one of these times is in the future."""
    return Sampled.of(created, now).future_s > 0


def age_s(moment: Instant, now: Instant) -> float:
    """How long ago `moment` was, by the server's clock where both know it."""
    if moment.servers is None or now.servers is None:
        return now.ours - moment.ours
    return now.servers - moment.servers


def lag_is_over(moment: Instant, now: Instant) -> bool:
    """Whether `moment` is so long ago, by both clocks, that no look-up can lag behind what was done then."""
    return lag_left_s(moment, now) < 0


def lag_left_s(moment: Instant, now: Instant) -> float:
    """For how long a look-up may still lag behind what was done at `moment`, by the clock that says the longer time."""
    return LAG_MAX_S - min(age_s(moment, now), now.ours - moment.ours)


def known_age_s(moment: Instant, now: Instant, *, one_clock: bool) -> float | None:
    """How long ago `moment` was; None when no clock can tell. one_clock: whether both are times of this machine.

    The log in a store may have been written on another machine, and its clock is not compared with ours.
    """
    if one_clock:
        return now.ours - moment.ours
    if moment.servers is None or now.servers is None or (age := now.servers - moment.servers) < -SKEW_S:
        return None
    return age
