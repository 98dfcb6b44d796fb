"""The geometry of a report's pictures: numbers in percent, which `report.html.j2` draws. Pure.

Texts stand beside the drawings, as HTML: so they keep their size on a phone and on paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bulkdel.core.outcome import REMAINING
from bulkdel.core.sign_ins import AGES, NEVER_SIGNED_IN, place_of
from bulkdel.format import span
from bulkdel.report.facts import OutcomeFacts, Reason, SampleFacts
from bulkdel.report.timeline import Throughput

FUNNEL = ("invalid", "duplicate", "excluded", "absent", "refused", "unknown", REMAINING, "already", "done")
"""The outcomes, in the order in which rows leave the way from the export to the effect."""

ALWAYS = frozenset({"refused", REMAINING, "done"})
"""Outcomes that are shown without a row too."""

WIDTH_MIN = 1.0
"""Percent that a part has at least, so that a few refused rows among millions can be seen."""

BUCKETS_MIN = 3
"""A shorter run has no curve: it would show nothing but two points."""

TICKS_MAX = 6
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
"""The distance between two ticks of the time axis."""


class Part(NamedTuple):
    """A part of a bar. kind: its colour. x, width: percent."""

    kind: str
    x: float
    width: float


class Tick(NamedTuple):
    """A mark of an axis. at: percent."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Step:
    """One outcome of the funnel. bar: the rows that are left after it, and its own. reasons: each with its own bar."""

    outcome: OutcomeFacts
    bar: tuple[Part, Part]
    reasons: tuple[tuple[Reason, Part], ...]


def funnel(outcomes: Sequence[OutcomeFacts]) -> Iterator[Step]:
    """Yield the outcomes that occur. What leaves first is at the right end; what was done begins at the left."""
    known = {each.kind: each for each in outcomes}
    total = left = sum(each.count for each in outcomes)
    for outcome in (known[kind] for kind in FUNNEL if kind in known):
        if not (outcome.count or outcome.kind in ALWAYS):
            continue
        end, bars = left, []
        for reason in outcome.reasons:
            bars.append((reason, _part(outcome.kind, end - reason.count, reason.count, total)))
            end -= reason.count
        left -= outcome.count
        bar = _part("left", 0, left, total), _part(outcome.kind, left, outcome.count, total)
        yield Step(outcome, bar, tuple(bars))


def shares(counts: Mapping[str, int]) -> list[Part]:
    """A whole bar, divided among the kinds that occur."""
    total, begin, found = sum(counts.values()), 0, []
    for kind, count in counts.items():
        if count:
            found.append(_part(kind, begin, count, total))
        begin += count
    return found


def _part(kind: str, begin: int, count: int, total: int) -> Part:
    width = max(100 * count / total, WIDTH_MIN) if count else 0.0
    return Part(kind, round(max(0.0, min(100 * begin / (total or 1), 100 - width)), 3), round(width, 3))


@dataclass(frozen=True, slots=True)
class Column:
    """The accounts whose last sign-in is of one age. height: percent of the highest. spared: share of its width."""

    words: str
    count: int
    height: float
    spared: float


@dataclass(frozen=True, slots=True)
class AgeColumns:
    """The last sign-ins of the sample, the oldest first. line: where the date of the guard is, percent; or None."""

    columns: tuple[Column, ...]
    line: float | None


def sign_ins(sample: SampleFacts) -> AgeColumns | None:
    """The columns; None when no time of a sign-in is known."""
    counts = sample.sign_ins
    shown = [(NEVER_SIGNED_IN, "never"), *((age.name, age.words) for age in AGES)]
    top = max((counts.get(name, 0) for name, _ in shown), default=0)
    if not top:
        return None
    # The column of those that never signed in stands before the ages.
    line = None if sample.spared_days is None else 1 + place_of(sample.spared_days)
    columns = []
    for number, (name, words) in enumerate(shown):
        count = counts.get(name, 0)
        spared = 0.0 if line is None else min(1.0, max(0.0, number + 1 - line))
        columns.append(Column(words, count, round(100 * count / top, 2), round(spared, 3)))
    return AgeColumns(tuple(columns), None if line is None else round(100 * line / len(shown), 2))


@dataclass(frozen=True, slots=True)
class Curve:
    """Rows a minute over the time of the sessions.

    path: of an SVG of 1,000 by 100. pauses: as parts. sessions, throttled: where they are, percent.
    """

    path: str
    pauses: tuple[Part, ...]
    sessions: tuple[float, ...]
    throttled: tuple[float, ...]
    times: tuple[Tick, ...]
    rates: tuple[Tick, ...]


def curve(shown: Throughput) -> Curve | None:
    """The curve; None for a run that is too short."""
    if len(shown.per_minute) < BUCKETS_MIN:
        return None
    highest, length = max(*shown.per_minute, 1.0), shown.length_s
    step = _round_step(highest / 4)
    top = step * (int(highest / step) + 1)
    steps = ["M0,100"]
    for number, value in enumerate(shown.per_minute):
        end = length if number == len(shown.per_minute) - 1 else (number + 1) * shown.bucket_s
        steps.append(f"V{100 - 100 * value / top:.2f}H{1_000 * end / length:.2f}")
    return Curve(
        "".join([*steps, "V100Z"]),
        tuple(Part("pause", 100 * begin / length, 100 * (end - begin) / length) for begin, end in shown.pauses),
        tuple(100 * at / length for at in shown.sessions),
        tuple(100 * at / length for at in shown.throttled),
        tuple(Tick(100 * at / length, span(at).removesuffix(" 0 min") if at else "0") for at in _ticks(length)),
        tuple(Tick(100 * value / top, f"{value:,.0f}") for value in (step * i for i in range(round(top / step) + 1))),
    )


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 and so on that is not below."""
    power = 1.0
    while power * 10 < least:
        power *= 10
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least)


def _ticks(length_s: float) -> list[float]:
    step = next((step for step in TICK_STEPS_S if length_s / step <= TICKS_MAX), None)
    if step is None:
        days = -(-length_s // (86_400 * TICKS_MAX))
        step = int(days * 86_400)
    return [float(step * i) for i in range(int(length_s // step) + 1)]
