"""A look-up has found an account by the keys of a row that is to be created: is it the one that was created?

A key is what no two accounts share, such as an e-mail address. The comparison of ids in doubt that are to be deleted is
in `account_match`; this one is turned round, and takes its words from there.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from bulkdel.core.account_match import REUSE_AFTER_S, SKEW_S, ZONE_MAX_S, Instant, Presence, age_s


class Keys(enum.Enum):
    """Which of the keys of a row an account has. A key is what no two accounts share, such as an e-mail address."""

    ALL = "every key of the row"
    SOME = "some of them, and no other value in the place of one"
    OTHER = "another value in the place of one of them"


class Created(NamedTuple):
    """An account that a look-up found by the keys of an account that is to be created.

    at: when it was created, epoch seconds; None when unknown.
    certain: whether the keys were compared. If not, the server found it by a rule of its own, or at random.
    never_gone: whether it is the account that was to be deleted, so nothing has to be created.
    alike: whether it has what else the row says of it.
    unused: whether this session has seen that no account had the keys, before it sent a request with them.
    """

    at: float | None
    keys: Keys = Keys.ALL
    certain: bool = True
    never_gone: bool = False
    alike: bool = True
    unused: bool = False


def presence_of_created(account: Created, moment: Instant | None, now: Instant) -> Presence:
    """Judge an account that has keys of an account that is to be created: `presence` turned round.

    moment: of the intent; None when no request may have been applied. Before an intent is written, a look-up has shown
    that no account has the keys. So a younger account with all of them is the one that was created (REACHED). One with
    another value for a key is another one (TAKEN), unless this session saw the keys of the row unused and it is alike:
    the API may write a key in another way. One that is not alike and older by more than any time zone is another one
    too. Anything else is UNDATED: another person may have been given the keys meanwhile, or a clock is wrong.
    """
    if account.never_gone:
        return Presence.NEVER_GONE
    if not account.certain:
        return Presence.UNDATED
    if moment is None or (account.keys is Keys.OTHER and not (account.unused and account.alike)):
        return Presence.TAKEN
    alike = account.alike and account.keys is Keys.ALL
    if account.at is None or moment.servers is None or now.servers is None:
        return Presence.REACHED if alike and account.unused else Presence.UNDATED
    if account.at < moment.servers - ZONE_MAX_S and not alike:
        return Presence.TAKEN
    dated = moment.servers - SKEW_S <= account.at <= now.servers + SKEW_S and age_s(moment, now) <= REUSE_AFTER_S
    return Presence.REACHED if alike and (account.unused or dated) else Presence.UNDATED
