"""The shares of one rate, for several processes that send to one server at the same time. Pure; the clock comes in.

A keeper divides the rate among workers, which are processes. A share is a rate that a worker may send at, for LASTS_S.
The sum of all shares that are neither given back nor expired is never above the rate:

- A worker asks again every third of LASTS_S. Its share ends LASTS_S after it *sent* its ask, by its own clock; the
  keeper counts from when it *received* the ask, and 2 % longer. So the worker is the first of the two to stop, and no
  two clocks are compared.
- A share that was lowered counts in full until the worker has said that it goes on with the lower one, or until it has
  expired. Only then another share is raised.
- A worker that ends gives its share back. The share of a killed or cut-off worker expires.
- A keeper that was started again grants nothing until every share of the keeper before it has expired.

The division is max-min fair and follows what the workers can use: a slow one gets what it uses and a little more, the
others share the rest. A 429 at one worker pauses all workers of its group and halves the rate of the group once.

A group has one rate: it is a host and a user pool. There may be a rate over all groups as well.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkdel.core.adaptive_rate import AdaptiveRate, Slowed

LASTS_S = 3.0
"""Seconds that a share lasts from the ask on."""

CLOCKS_APART = 1.02
"""By this factor the keeper counts longer than the worker: their clocks may run at different speeds."""

STEADY = 0.02
"""Before its worker asks again a share is only changed by more than this part of it: that costs a message and its
answer."""

LEAST = 0.01
"""The part of the rate that is divided among workers that use nothing, so that each may send its first request."""

ROUNDING = 1e-9
"""Sums of shares are compared with the rate up to this part of it."""


class Ask(NamedTuple):
    """What a worker says when it asks for its share again.

    number: of the ask, ascending. serial: of the share that it goes on with; 0 for none.
    wants: requests a second that it can use; infinite when its share is what limits it.
    sent, answered, failed: requests since its last ask: sent, answered usefully or not, failed.
    throttled_s: a 429 came, and asked for so many seconds; None without one. slow: --slow-while asks to slow down.
    """

    number: int
    serial: int = 0
    wants: float = math.inf
    sent: int = 0
    answered: int = 0
    failed: int = 0
    throttled_s: float | None = None
    slow: bool = False


class Share(NamedTuple):
    """What a worker may do, until LASTS_S after it sent the ask `asked`.

    rate: requests a second; infinite is unlimited. pause_s: nothing may be sent for so long.
    slowed: why the rate of the group is below the configured one.
    """

    worker: str
    serial: int
    rate: float
    asked: int
    pause_s: float = 0.0
    slowed: Slowed | None = None


class _Granted(NamedTuple):
    serial: int
    rate: float
    until: float


@dataclass(slots=True)
class _Worker:
    """granted: every share that it may still use, the latest last. owed: whether its last ask has no answer."""

    group: str
    asked: int = 0
    asked_at: float = 0.0
    wants: float = 0.0
    owed: bool = False
    granted: list[_Granted] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Of its latest share; 0 without one."""
        return self.granted[-1].rate if self.granted else 0.0

    @property
    def held(self) -> float:
        """The highest rate at which it may be sending now."""
        return max((granted.rate for granted in self.granted), default=0.0)


def fair_shares(wants: Sequence[tuple[str, float]], rates: Mapping[str, float], over_all: float) -> list[float]:
    """Divide max-min fairly: all shares grow together until a worker has what it wants, or a rate is used up.

    wants: of each worker its group and the requests a second that it can use. rates: of each group. Rates may be
    infinite.
    """
    in_group = defaultdict[str, list[float]](list)
    for group, want in wants:
        in_group[group].append(want)
    highest = {group: _highest(each, rates[group]) for group, each in in_group.items()}
    shares = [min(want, highest[group]) for group, want in wants]
    highest_over_all = _highest(shares, over_all)
    return [min(share, highest_over_all) for share in shares]


class RateShares:
    """Divides rates. `due` returns the shares to send: call it soon after every other call, and a few times a second.

    It looks at every worker, and takes no time for groups without workers.
    """

    def __init__(self, over_all: float = 0.0, *, now: float, restarted: bool = False, lasts_s: float = LASTS_S) -> None:
        """Begin. over_all: the rate over all groups; 0 is unlimited. restarted: shares of an earlier keeper may last.

        All times are seconds of one clock that also counts the time in which the machine sleeps.
        """
        self._over_all = over_all
        self._lasts_s = lasts_s * CLOCKS_APART
        self._grants_from = now + self._lasts_s if restarted else now
        self._groups: dict[str, AdaptiveRate] = {}
        self._open_at: dict[str, float] = {}  # when the latest pause of a group ends
        self._workers: dict[str, _Worker] = {}
        self._serial = 0

    def set_rate(self, group: str, rate: float, now: float) -> None:
        """Divide `rate` requests a second in this group from now on; 0 is unlimited. A new group begins with it."""
        if group in self._groups:
            self._groups[group].set_ceiling(rate, now)
        else:
            self._groups[group] = AdaptiveRate(rate)

    def rate(self, group: str, now: float) -> float:
        """Requests a second of this group now; 0 is unlimited."""
        return self._groups[group].rate(now)

    def slowed(self, group: str, now: float) -> Slowed | None:
        """Why the rate of a group is below the configured one; None when it is not."""
        return self._groups[group].slowed(now)

    def pause_s(self, group: str, now: float) -> float:
        """Seconds until the pause of a group ends; 0 without a pause."""
        return max(0.0, self._open_at.get(group, now) - now)

    def slow(self, group: str, now: float) -> None:
        """Halve the rate of a group, as a 429 does, without a pause."""
        self._groups[group].slow(now)

    def ask(self, worker: str, group: str, ask: Ask, now: float) -> None:
        """Take in an ask. worker: a name that no other worker has. Raises KeyError for an unknown group."""
        rate = self._groups[group]
        found = self._workers.setdefault(worker, _Worker(group))
        found.granted = [granted for granted in found.granted if granted.serial >= ask.serial]
        found.asked, found.asked_at, found.wants, found.owed = ask.number, now, ask.wants, True
        for _ in range(ask.sent):
            rate.sent(now)
        for i in range(ask.answered):  # the failures are spread over the responses
            rate.record(now, failed=(i + 1) * ask.failed // ask.answered > i * ask.failed // ask.answered)
        if ask.slow:
            rate.slow(now)
        if ask.throttled_s is not None:
            rate.throttled(now)
            self._open_at[group] = max(self._open_at.get(group, now), now + ask.throttled_s)
            for other in self._workers.values():
                other.owed = other.owed or other.group == group

    def give_back(self, worker: str) -> None:
        """Take a share back: the worker has said that it sends nothing more."""
        self._workers.pop(worker, None)

    def due(self, now: float) -> list[Share]:
        """The shares to send now: to workers that have asked, and to those whose share has changed."""
        self._expire(now)
        if now < self._grants_from:
            return []
        workers = self._workers
        groups = {worker.group for worker in workers.values()}
        rates = {group: self._groups[group].rate(now) or math.inf for group in groups}
        over_all = self._over_all or math.inf
        targets = self._targets(rates, over_all)
        held = {name: worker.held for name, worker in workers.items()}
        held_in_group = _sums((worker.group, held[name]) for name, worker in workers.items())
        left = {group: _left(rate, held_in_group[group]) for group, rate in rates.items()}
        left_over_all = _left(over_all, sum(held.values()))
        shares = []
        for name, worker in sorted(workers.items(), key=lambda item: item[1].rate):
            room = max(0.0, min(left[worker.group], left_over_all))
            rate = min(targets[name], held[name] + room)
            changed = rate < worker.rate or rate > worker.rate * (1 + STEADY)
            if not (changed or worker.owed) or not rate:
                continue
            taken = max(0.0, rate - held[name])
            left[worker.group] = _left(left[worker.group], taken)
            left_over_all = _left(left_over_all, taken)
            shares.append(self._grant(name, worker, rate, now))
        return shares

    def _targets(self, rates: Mapping[str, float], over_all: float) -> dict[str, float]:
        """The rate that each worker should have. One that would be lowered a little keeps its share, where all fit."""
        workers = self._workers.values()
        least_part = LEAST / max(1, len(workers))  # unlimited for an unlimited rate
        least = {group: least_part * min(rate, over_all) for group, rate in rates.items()}
        fair = fair_shares([(each.group, max(each.wants, least[each.group])) for each in workers], rates, over_all)
        kept = [
            worker.rate if share < worker.rate <= share * (1 + STEADY) else share
            for worker, share in zip(workers, fair, strict=True)
        ]
        # A raise that matters to its worker has to fit too: a small share beside a large one changes that one little.
        now = _sums(
            (worker.group, worker.rate if worker.rate < share <= worker.rate * (1 + STEADY) else share)
            for share, worker in zip(kept, workers, strict=True)
        )
        fits = {group: _fits(total, rates[group]) for group, total in now.items()}
        all_fit = _fits(sum(now.values()), over_all)
        return {
            name: keeps if all_fit and fits[worker.group] else share
            for (name, worker), keeps, share in zip(self._workers.items(), kept, fair, strict=True)
        }

    def _grant(self, name: str, worker: _Worker, rate: float, now: float) -> Share:
        self._serial += 1
        worker.granted.append(_Granted(self._serial, rate, worker.asked_at + self._lasts_s))
        worker.owed = False
        slowed = self._groups[worker.group].slowed(now)
        return Share(name, self._serial, rate, worker.asked, self.pause_s(worker.group, now), slowed)

    def _expire(self, now: float) -> None:
        """Forget the shares that have expired, and the workers that have not asked since."""
        for name, worker in list(self._workers.items()):
            worker.granted = [granted for granted in worker.granted if granted.until > now]
            if worker.asked_at + self._lasts_s <= now:
                del self._workers[name]


def _highest(wants: Sequence[float], rate: float) -> float:
    """The highest share when a rate is divided: a worker that wants less gets what it wants. Infinite when all do."""
    left = rate
    for growing, want in zip(range(len(wants), 0, -1), sorted(wants), strict=True):
        if want * growing >= left:
            return left / growing
        left -= want
    return math.inf


def _sums(rates: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The sum of the rates of each group. rates: of each worker its group and a rate."""
    sums = defaultdict[str, float](float)
    for group, rate in rates:
        sums[group] += rate
    return sums


def _left(rate: float, held: float) -> float:
    """What is left of a rate; at most 0 when more is held."""
    return rate if math.isinf(rate) else rate - held


def _fits(total: float, rate: float) -> bool:
    return total <= rate * (1 + ROUNDING)
