"""The limits that halt a run: too many refused or absent ids, too few of the sample that exist. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

SAMPLE_SIZE = 200  # ids looked up before the first id is sent
SAMPLE_SHARE_MIN = 0.5  # the share of them that has to exist

SETTLED_MIN = 1_000  # ids that a session settles before the share of refused ones means anything

ALL_REFUSED_MIN = 10  # so many ids in a row, each refused with one code: the cause is not the ids

# Absent by the answer alone, where the API has no look-ups: a wrong path gets the same 404.
ABSENT_FIRST = 20  # so many absent ids, and none that is done, halt the run
ABSENT_SHARE_AFTER = 200  # settled ids, after which more than half of them absent halt the run


_NUMBER_OR_SHARE = re.compile(r"([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)|([0-9]+(?:\.[0-9]+)?)%")


def number_or_share(text: str) -> int | Fraction:
    """Read `100` or `1,000` as a number, `1%` or `0.5%` as a share from 0 to 1. Raises ValueError."""
    found = _NUMBER_OR_SHARE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found[1] is not None:
        return int(found[1].replace(",", ""))
    share = Fraction(found[2]) / 100
    if share > 1:
        raise ValueError(text)
    return share


def too_many_refused(most: int | Fraction, refused: int, settled: int) -> bool:
    """Whether a session must halt (--max-refused). most: a number of ids, or a share of what it settled."""
    if isinstance(most, int):
        return refused > most
    return settled >= SETTLED_MIN and refused > most * settled


def refused_words(most: int | Fraction, refused: int, settled: int, *, may_exclude: bool) -> str:
    """Why a session halts for --max-refused, and what to do. may_exclude: whether the command has --exclude.

    The other arguments: as of `too_many_refused`.
    """
    limit = f"{most:,}" if isinstance(most, int) else f"{float(most * 100):g} %"
    leave_out = "leave these ids out (--exclude), or " if may_exclude else ""
    return (
        f"of the {settled:,} ids that this session has done, {refused:,} were refused, and --max-refused allows "
        f"{limit}. Look at the reasons first; then {leave_out}allow more (--max-refused)"
    )


def sample_suffices(asked: int, found: int) -> bool:
    """Whether enough of the sampled ids exist. Fewer than half mean a wrong pool, id type or column."""
    return found >= asked * SAMPLE_SHARE_MIN
