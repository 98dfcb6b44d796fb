"""An id in doubt was found: is it the account that was meant, or another one under the same id?"""

from __future__ import annotations

import enum

SKEW_S = 300.0
"""How far our clock and the server's may be apart (design)."""

REUSE_AFTER_S = 24 * 3600.0
"""From this age on an email or a phone may well belong to somebody else (design)."""


class Presence(enum.Enum):
    """What a look-up says of an id that exists."""

    OLD = "the account that was meant"
    NEW = "created after the intent: another account under the same id"
    UNDATED = "cannot tell whether it is the account that was meant"
    PROTECTED = "its record carries an id that must never be sent"


def presence(created_at: float | None, intent_at: float, now: float, *, reusable: bool, resend: bool) -> Presence:
    """Compare an account's creation with the time of the intent (all epoch seconds).

    reusable: whether another account may carry the same id. resend: the user said `--in-doubt resend`.
    An account whose creation falls into the skew after the intent is nobody's guess to make when the id is reusable;
    before the intent it is the one that the export meant.
    """
    if created_at is None:
        doubtful = reusable and now - intent_at > REUSE_AFTER_S
    elif created_at > now + SKEW_S:  # a clock or a zone is wrong, and it may well be somebody new
        doubtful = reusable
    elif created_at > intent_at + SKEW_S:
        return Presence.NEW
    else:
        doubtful = reusable and created_at > intent_at
    return Presence.UNDATED if doubtful and not resend else Presence.OLD
