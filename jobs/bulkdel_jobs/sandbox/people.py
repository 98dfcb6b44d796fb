"""The people of a sandbox to practise on: their names, last sign-ins, statuses, groups and roles.

All of it follows from the number of a user and from the day on which the sandbox starts. Every 100 users in a row have
the same kinds. Knows no request and holds no user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bulkdel_jobs.sandbox.users import ACTIVATED, RESIGNED, Record, iso

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool


class PersonKind(NamedTuple):
    """One kind of users. share: of 100 users. created, signed_in: the fewest and the most days ago; None: never."""

    share: int
    status: str
    created: tuple[int, int]
    signed_in: tuple[int, int] | None


KINDS = (
    PersonKind(55, ACTIVATED, (1200, 2000), (100, 1100)),
    PersonKind(20, ACTIVATED, (1200, 2000), (0, 80)),
    PersonKind(10, ACTIVATED, (400, 1200), None),
    PersonKind(3, ACTIVATED, (2, 25), None),
    PersonKind(6, "Suspended", (1200, 2000), (100, 1100)),
    PersonKind(3, RESIGNED, (1200, 2000), (100, 1100)),
    PersonKind(2, "Deactivated", (1200, 2000), (100, 1100)),
    PersonKind(1, "Archived", (1200, 2000), None),
)
"""No user signed in 81 to 99 days ago, and none was created 26 to 399 days ago: a guard of 90 days, or of 30, spares
the same users for a week after the start."""

GROUPS = {"sales": 6, "support": 10, "works-council": 50}
"""One in so many users is in the group."""

ROLES = {"editor": 25}
"""The same of the roles."""

ADMINISTRATORS = 3
"""The first users have the role `admin`. GenAuth has no call that lists administrators."""

# fmt: off
_FIRST = (
    "Anna", "Björn", "Clara", "David", "Élodie", "Felix", "Greta", "Hakan", "Ines", "Jörg", "Katja", "Luis", "Mia",
    "Noah", "Olga", "Paul", "Rita", "Søren", "Uwe",
)
_LAST = (
    "Albrecht", "Bauer", "Çelik", "Dubois", "Engel", "Fischer", "García", "Hofmann", "Ivanov", "Jansen", "Krüger",
    "Lang", "Müller", "Nowak", "Ott", "Petersen", "Richter", "Schäfer", "Vogel", "Weiß",
    "Zimmer",
)
# fmt: on
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "í": "i", "ç": "c", "ø": "oe"})


@dataclass(frozen=True, slots=True)
class People:
    """What makes the users of a pool people. start: when the sandbox starts, in UTC."""

    start: datetime = field(default_factory=lambda: datetime.now(UTC))

    def person(self, number: int) -> Record:
        """Return the fields of a user in which it differs from a plain made-up user."""
        first, last = _FIRST[number % len(_FIRST)], _LAST[number % len(_LAST)]
        kind = _KIND_OF[number * 37 % 100]
        never = {} if kind.signed_in else {"loginsCount": 0, "lastIp": None}
        return {
            "name": f"{first} {last}",
            "email": f"{first}.{last}{number}@sandbox.example".lower().translate(_ASCII),
            "status": kind.status,
            "createdAt": self._ago(number, kind.created),
            "lastLogin": kind.signed_in and self._ago(number, kind.signed_in),
            **never,
        }

    def _ago(self, number: int, days: tuple[int, int]) -> str:
        """Return the time on one of these days that falls to a user; it is never later than the start."""
        least, most = days
        ago = timedelta(days=least + number * 7919 % (most - least + 1), hours=-(number % 24))
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        return iso(min(self.start, midnight - ago))


_KIND_OF = [kind for kind in KINDS for _ in range(kind.share)]


def give_access(pool: Pool) -> None:
    """Put some of the users into groups, and give some of them roles."""
    for groups, add in ((GROUPS, pool.access.add_group), (ROLES, pool.access.add_role)):
        for code, one_in in groups.items():
            add(code, islice(pool.alive(), 0, None, one_in))
    pool.access.add_role("admin", islice(pool.alive(), ADMINISTRATORS))
