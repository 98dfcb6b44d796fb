"""The shares of a rate: their sum, who gets how much, and what happens when a worker or the keeper is gone."""

from __future__ import annotations

import cProfile
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.rate_shares import CLOCKS_APART, LASTS_S, STEADY, Ask, RateShares, Share, fair_shares
from tests.examples import examples
from tests.mutants import mutant
from tests.syntax import swap

INF = math.inf


@pytest.mark.parametrize(
    ("wants", "rates", "over_all", "shares"),
    [
        ([], {"a": 10}, INF, []),
        ([("a", INF)], {"a": 10}, INF, [10]),
        ([("a", INF), ("a", INF)], {"a": 10}, INF, [5, 5]),
        ([("a", 2), ("a", INF)], {"a": 10}, INF, [2, 8]),
        ([("a", 2), ("a", 3), ("a", INF)], {"a": 12}, INF, [2, 3, 7]),
        ([("a", 2), ("a", 3)], {"a": 12}, INF, [2, 3]),
        ([("a", INF), ("b", INF)], {"a": 10, "b": 20}, INF, [10, 20]),
        ([("a", INF), ("b", INF)], {"a": 10, "b": 20}, 24, [10, 14]),
        ([("a", INF), ("a", INF), ("b", INF)], {"a": 10, "b": 20}, 18, [5, 5, 8]),
        ([("a", INF), ("b", INF)], {"a": INF, "b": INF}, 18, [9, 9]),
        ([("a", INF), ("b", INF)], {"a": INF, "b": 5}, INF, [INF, 5]),
        ([("a", INF), ("a", INF)], {"a": INF}, INF, [INF, INF]),
        ([("a", 4), ("a", INF)], {"a": INF}, INF, [4, INF]),
        ([("a", 0), ("a", INF)], {"a": 10}, INF, [0, 10]),
    ],
)
def test_the_division_is_max_min_fair(
    wants: list[tuple[str, float]], rates: dict[str, float], over_all: float, shares: list[float]
) -> None:
    assert fair_shares(wants, rates, over_all) == pytest.approx(shares)


RATES = st.sampled_from((INF, 0.0, 0.5, 7.0, 10.0, 150.0)) | st.floats(0.01, 1000)


@settings(max_examples=examples(200), deadline=None)
@given(
    wants=st.lists(st.tuples(st.sampled_from("abc"), RATES), max_size=12),
    rates=st.fixed_dictionaries(dict.fromkeys("abc", RATES.filter(bool))),
    over_all=RATES.filter(bool),
)
def test_a_worker_gets_less_than_it_wants_only_where_a_rate_is_used_up_and_no_other_has_more_of_it(
    wants: list[tuple[str, float]], rates: dict[str, float], over_all: float
) -> None:
    shares = fair_shares(wants, rates, over_all)
    limits = [([*range(len(wants))], over_all)]
    limits += [([i for i, (each, _) in enumerate(wants) if each == group], rate) for group, rate in rates.items()]
    for among, rate in limits:
        assert sum(shares[i] for i in among) <= rate * (1 + 1e-9)
    for i, (_, want) in enumerate(wants):
        assert 0 <= shares[i] <= want
        assert shares[i] == want or any(
            sum(shares[j] for j in among) == pytest.approx(rate)
            and shares[i] == pytest.approx(max(shares[j] for j in among))
            for among, rate in limits
            if i in among
        )


def keeper(rate: float = 100.0, over_all: float = 0.0, *, restarted: bool = False) -> RateShares:
    shares = RateShares(over_all, now=0.0, restarted=restarted)
    shares.set_rate("pool", rate, 0.0)
    return shares


def by_worker(shares: list[Share]) -> dict[str, float]:
    return {share.worker: share.rate for share in shares}


@mutant(
    "a share that was lowered counts as lowered before its process says so",
    "_Worker.held",
    swap(
        "max((granted.rate for granted in self.granted), default=0.0)", "self.granted[-1].rate if self.granted else 0.0"
    ),
)
def test_one_worker_has_the_whole_rate_and_a_second_one_half_of_it_once_the_first_has_agreed() -> None:
    shares = keeper()
    shares.ask("a", "pool", Ask(1), 0.0)
    (first,) = shares.due(0.0)
    assert (first.rate, first.asked) == (100, 1)
    shares.ask("b", "pool", Ask(1), 0.1)
    (cut,) = shares.due(0.1)
    assert (cut.worker, cut.rate, cut.asked) == ("a", 50, 1)  # and nothing for b
    assert shares.due(0.2) == []
    shares.ask("a", "pool", Ask(2, cut.serial), 0.3)
    assert by_worker(shares.due(0.3)) == {"a": 50, "b": 50}


@mutant(
    "the keeper gives away a share before it has expired",
    "RateShares._expire",
    swap("granted.until > now", "granted.until > now + 1"),
)
def test_a_lowered_share_counts_in_full_until_it_has_expired() -> None:
    shares = keeper()
    shares.ask("a", "pool", Ask(1), 0.0)
    shares.due(0.0)
    end = LASTS_S * CLOCKS_APART
    shares.ask("b", "pool", Ask(1), 1.0)
    assert by_worker(shares.due(1.0)) == {"a": 50}
    assert shares.due(end - 0.001) == []
    assert by_worker(shares.due(end)) == {"b": 100}  # a is gone


def test_an_answer_to_an_earlier_ask_does_not_make_a_share_last_longer() -> None:
    """A frozen worker is sent its cut, and does not read it. Its share ends LASTS_S after its last ask."""
    shares = keeper()
    shares.ask("a", "pool", Ask(1), 0.0)
    shares.ask("b", "pool", Ask(1), 0.0)
    shares.due(0.0)
    for second in (1.0, 2.0, 3.0):
        shares.set_rate("pool", 100 - second, second)
        shares.ask("b", "pool", Ask(2, 99), second)
        shares.due(second)
    shares.ask("b", "pool", Ask(3, 99), 3.07)
    assert by_worker(shares.due(3.07)) == {"b": 97}


def test_a_share_that_is_given_back_is_free_at_once() -> None:
    shares = keeper()
    for name in "ab":
        shares.ask(name, "pool", Ask(1), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": 50, "b": 50}
    shares.give_back("a")
    assert by_worker(shares.due(0.0)) == {"b": 100}
    shares.give_back("a")  # a second time changes nothing


@mutant(
    "a keeper that was started again grants at once",
    "RateShares.__init__",
    swap("now + self._lasts_s", "now + 0 * self._lasts_s"),
)
def test_a_keeper_that_was_started_again_grants_nothing_until_the_earlier_shares_have_expired() -> None:
    shares = keeper(restarted=True)
    end = LASTS_S * CLOCKS_APART
    for second in (0.0, 1.0, 2.0, end - 0.01):
        shares.ask("a", "pool", Ask(int(second) + 1), second)
        assert shares.due(second) == []
    assert by_worker(shares.due(end)) == {"a": 100}


def test_a_slow_worker_gets_what_it_uses_and_the_others_share_the_rest() -> None:
    shares = keeper(150)
    for name in "abc":
        shares.ask(name, "pool", Ask(1, wants=8 if name == "a" else INF), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": 8, "b": 71, "c": 71}


def test_a_worker_that_uses_nothing_keeps_enough_for_its_first_request() -> None:
    shares = keeper(100)
    for name, wants in (("a", 0.0), ("b", INF)):
        shares.ask(name, "pool", Ask(1, wants=wants), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": 0.5, "b": 99.5}


def test_a_429_at_one_worker_pauses_all_of_its_group_and_halves_the_rate_once() -> None:
    shares = keeper(100)
    shares.set_rate("other", 30, 0.0)
    serials = {}
    for name in "abc":
        shares.ask(name, "other" if name == "c" else "pool", Ask(1), 0.0)
    for share in shares.due(0.0):
        serials[share.worker] = share.serial
    shares.ask("a", "pool", Ask(2, serials["a"], throttled_s=3.0), 0.5)
    shares.ask("b", "pool", Ask(2, serials["b"], throttled_s=1.0), 0.6)  # the same burst
    found = {share.worker: share for share in shares.due(0.7)}
    assert {name: share.rate for name, share in found.items()} == {"a": 25, "b": 25}
    assert all(share.pause_s == pytest.approx(2.8) for share in found.values())
    assert all(share.slowed is Slowed.THROTTLED for share in found.values())
    assert (shares.rate("pool", 0.7), shares.rate("other", 0.7)) == (50, 30)
    assert shares.pause_s("other", 0.7) == 0
    assert shares.pause_s("pool", 4.0) == 0
    assert shares.slowed("pool", 0.7) is Slowed.THROTTLED


def test_failures_of_all_workers_together_halve_the_rate() -> None:
    shares = keeper(100)
    for name in "ab":
        shares.ask(name, "pool", Ask(1, sent=60, answered=60, failed=4), 0.0)
    assert shares.slowed("pool", 0.0) is None  # 8 of the last 100
    shares.ask("a", "pool", Ask(2, answered=60, failed=10), 1.0)
    assert shares.rate("pool", 1.0) == 50
    shares.ask("b", "pool", Ask(2, slow=True), 2.5)
    assert shares.slowed("pool", 2.5) is Slowed.SLOW_WHILE


def test_without_a_limit_every_worker_is_unlimited_and_trouble_brings_a_limit() -> None:
    shares = keeper(0)
    for name, wants in (("a", 7.0), ("b", INF)):  # what a worker used so far is no limit
        shares.ask(name, "pool", Ask(1, wants=wants), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": INF, "b": INF}
    shares.ask("a", "pool", Ask(2, 1, throttled_s=1.0), 1.0)
    assert by_worker(shares.due(1.0)) == {"a": 12.5, "b": 12.5}  # of the assumed rate of 50
    shares.slow("pool", 3.0)
    shares.set_rate("pool", 10, 3.0)
    assert sum(by_worker(shares.due(3.0)).values()) <= 10


def test_a_rate_over_all_groups() -> None:
    shares = keeper(100, 60)
    shares.set_rate("other", 20, 0.0)
    for name, group in (("a", "pool"), ("b", "pool"), ("c", "other")):
        shares.ask(name, group, Ask(1), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": 20, "b": 20, "c": 20}


def test_a_share_that_would_change_little_stays() -> None:
    shares = keeper(100)
    for name in "ab":
        shares.ask(name, "pool", Ask(1, wants=40 if name == "a" else INF), 0.0)
    first = by_worker(shares.due(0.0))
    assert first == {"a": 40, "b": 60}
    shares.ask("a", "pool", Ask(2, 1, wants=40.4), 0.5)
    assert by_worker(shares.due(0.5)) == {"a": 40}  # b keeps its 60
    shares.set_rate("pool", 99.5, 0.6)  # they do not fit any more
    assert sum(by_worker(shares.due(0.6)).values()) + 40 <= 99.5 + 1e-6
    assert STEADY < 0.05


def test_a_small_share_is_raised_although_that_changes_a_large_one_little() -> None:
    shares = keeper(100)
    for name in "ab":
        shares.ask(name, "pool", Ask(1, wants=1 if name == "a" else INF), 0.0)
    assert by_worker(shares.due(0.0)) == {"a": 1, "b": 99}
    shares.ask("a", "pool", Ask(2, 1, wants=2.5), 0.5)
    (cut,) = [share for share in shares.due(0.5) if share.worker == "b"]
    assert cut.rate == 97.5
    shares.ask("b", "pool", Ask(2, cut.serial), 0.6)
    assert by_worker(shares.due(0.6)) == {"a": 2.5, "b": 97.5}


def test_a_group_that_has_to_be_divided_anew_changes_no_other_one() -> None:
    shares = keeper(100)
    shares.set_rate("other", 100, 0.0)
    for name, wants in (("a", 40.0), ("b", INF)):
        shares.ask(name, "pool", Ask(1, wants=wants), 0.0)
        shares.ask(name * 2, "other", Ask(1, wants=wants), 0.0)
    first = shares.due(0.0)
    assert by_worker(first) == {"a": 40, "b": 60, "aa": 40, "bb": 60}
    serials = {share.worker: share.serial for share in first}
    shares.ask("aa", "other", Ask(2, serials["aa"], wants=40.4), 0.5)
    shares.ask("a", "pool", Ask(2, serials["a"], wants=50), 0.5)
    assert by_worker(shares.due(0.5)) == {"aa": 40, "a": 40, "b": 50}  # bb keeps its 60


def calls_of_a_division(workers: int) -> int:
    """Calls of functions in a division among so many workers, each in a group of its own; half of them are slow."""
    shares = RateShares(now=0.0)
    for number in range(workers):
        shares.set_rate(f"pool {number}", 150.0, 0.0)
        shares.ask(f"w{number}", f"pool {number}", Ask(1, wants=INF if number % 2 else number / workers * 100), 0.0)
    assert len(shares.due(0.0)) == workers
    profile = cProfile.Profile()
    profile.runcall(shares.due, 0.1)
    return sum(entry.callcount for entry in profile.getstats())


@mutant(
    "a division looks at all groups for each group",
    "RateShares._targets",
    swap(
        "{group: _fits(total, rates[group]) for group, total in now.items()}",
        "{group: _fits(sum(now[each] * (each == group) for each in now), rates[group]) for group in now}",
    ),
)
def test_ten_times_as_many_groups_and_workers_are_divided_in_ten_times_as_many_steps() -> None:
    assert calls_of_a_division(300) <= 12 * calls_of_a_division(30)


class Worker:
    """A process of the model. Messages arrive in order, each late by a drawn time; a frozen worker reads none."""

    def __init__(self, name: str, speed: float) -> None:
        self.name = name
        self.speed = speed
        self.number = 0
        self.asked_at: dict[int, float] = {}
        self.share: Share | None = None
        self.until = 0.0  # by its own clock
        self.frozen = self.over = False
        self.up: list[tuple[float, Ask | None]] = []
        self.down: list[tuple[float, Share]] = []

    def ask(self, now: float, draw: random.Random, rate: float) -> Ask:
        self.number += 1
        self.asked_at[self.number] = now * self.speed
        wants = draw.choice((INF, INF, 0.0, rate / 7))
        serial = self.share.serial if self.share else 0
        return Ask(self.number, serial, wants, throttled_s=0.5 if draw.random() < 0.02 else None)

    def receive(self, share: Share) -> None:
        self.share, self.until = share, self.asked_at[share.asked] + LASTS_S

    def rate(self, now: float) -> float:
        return self.share.rate if self.share and now * self.speed < self.until else 0.0


class Model:
    """Workers and a keeper. Workers freeze, thaw, are killed and end; the keeper is started again. Clocks differ."""

    def __init__(self, seed: int, workers: int, rate: float) -> None:
        self.draw = random.Random(seed)
        self.rate, self.now, self.worst = rate, 0.0, 0.0
        self.shares = keeper(rate)
        self.made = 0
        self.living = workers
        self.workers: list[Worker] = []

    def late(self, after: list[tuple[float, Any]]) -> float:
        return max([self.now + self.draw.choice((0.0, 0.0, 0.01, 0.3, 1.2)), *(at for at, _ in after[-1:])])

    def step(self) -> None:
        draw = self.draw
        self.now += draw.choice((0.01, 0.05, 0.2))
        while sum(not worker.over for worker in self.workers) < self.living:
            self.made += 1
            self.workers.append(Worker(f"w{self.made}", draw.uniform(0.995, 1.005)))
        for worker in self.workers:
            while worker.up and worker.up[0][0] <= self.now:
                _, ask = worker.up.pop(0)
                if ask is None:
                    self.shares.give_back(worker.name)
                else:
                    self.shares.ask(worker.name, "pool", ask, self.now)
            if worker.over:
                continue
            if worker.frozen:
                worker.frozen = draw.random() > 0.03
                continue
            news = [share for at, share in worker.down if at <= self.now]
            worker.down = worker.down[len(news) :]
            for share in news:
                worker.receive(share)
            if news or draw.random() < 0.2:
                worker.up.append((self.late(worker.up), worker.ask(self.now, draw, self.rate)))
            chance = draw.random()
            worker.frozen = chance < 0.01
            worker.over = 0.01 <= chance < 0.02
            if worker.over and draw.random() < 0.5:  # ends; else it was killed
                worker.up.append((self.late(worker.up), None))
            if worker.over and chance < 0.015:  # killed while another process goes on sending what it had asked
                worker.up = worker.up[-1:]
            if worker.over:
                worker.share = None
        if draw.random() < 0.003:  # every connection is cut; the workers go on until their shares expire
            self.shares = RateShares(now=self.now, restarted=True)
            self.shares.set_rate("pool", self.rate, self.now)
            for worker in self.workers:
                worker.up, worker.down = [], []
                worker.share = worker.share and worker.share._replace(serial=0)
        by_name = {worker.name: worker for worker in self.workers}
        for share in self.shares.due(self.now):
            worker = by_name[share.worker]
            worker.down.append((self.late(worker.down), share))
        self.worst = max(self.worst, sum(worker.rate(self.now) for worker in self.workers))


@settings(max_examples=examples(60), deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 5))
def test_whatever_is_late_frozen_killed_or_restarted_the_shares_in_force_are_never_above_the_rate(
    seed: int, workers: int
) -> None:
    model = Model(seed, workers, 100.0)
    for _ in range(300):
        model.step()
    assert model.worst <= 100.0 * (1 + 1e-6)
    assert model.worst > 0
