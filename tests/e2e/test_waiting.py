"""What takes long because it waits: outages, tokens that end, the bound on the rate. Each through the real command.

All of it waits side by side, in threads: what is selected starts with the first test, and each test then asks how its
own went. So the whole takes as long as the longest, and next to no processor.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH, TOKEN_PATH
from tests.harness import DELETIONS, Case, assert_in_time, case, finish, kill, steady, user_ids

pytestmark = pytest.mark.alone

PROBE_S = 5.0
DOWN_S = 15.0
TOKENS_S = 15.0
SAMPLE = 4
"""Look-ups of a sample of 200."""


def assert_bound(arrivals: Sequence[float], rate: float) -> None:
    """At most rate * W + 1 + 2 % of rate in any window W, measured just short of each whole number of requests.

    There the bound is k, and the k + 1st is due half a request later: what a busy machine may deliver late.
    """
    for count in range(1, min(len(arrivals), int(20 * rate))):
        window_s = (count - 0.5) / rate
        assert int(rate * window_s + 1 + 0.02 * rate) == count
        at = next((at for at, end in zip(arrivals, arrivals[count:], strict=False) if end - at < window_s), None)
        assert_in_time(at is None, f"{count + 1} requests within {window_s:.2f} s from {at} at {rate}/s")


def tried_again(scenario: Callable[[Path], None]) -> Callable[[Path], None]:
    """Try again where something was late.

    On a machine that stalls for a fifth of a second one arrival is late, and the next one comes right after it. A
    program that bursts does so every time (`integration/test_rate_limiter.py` and the mutants check that).
    """

    @wraps(scenario)
    def tried(folder: Path) -> None:
        steady(scenario, folder)

    return tried


def assert_all_deleted(it: Case, ids: Sequence[str]) -> None:
    assert it.effects(ids) == [1] * len(ids)


def down_and_back(folder: Path, down_s: float, **down: object) -> None:
    ids = user_ids(20_000)
    with case(folder, ids, latency_s=0.02, options=("--rate", 200, "--chunk-size", 25)) as it:
        ledger = it.served.ledger
        process = it.start()
        it.wait_until_deleted(1_000)
        it.switch(**down)
        time.sleep(2.0)  # until the requests on the wire have failed and the breaker is open
        first = ledger.requests
        time.sleep(down_s - 2.0)
        probes = ledger.arrivals[first:]
        it.switch(**dict.fromkeys(down.keys() - {"fault_style"}, 0.0))
        ran = finish(process)
        assert down_s / PROBE_S - 2 <= len(probes) <= down_s / PROBE_S
        assert all(later - earlier >= PROBE_S - 0.5 for earlier, later in pairwise(probes)), probes
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert_all_deleted(it, ids)
        assert ledger.by_path[LOOKUP_PATH] == SAMPLE, "a chunk that runs out of attempts is looked up"
        assert "the server fails, next probe in" in ran.err


def answers_503(folder: Path) -> None:
    """The run waits, probes once an interval, comes back by itself, loses nothing; no chunk runs out of attempts."""
    down_and_back(folder, DOWN_S, share_503=1.0, fault_style="http")


def drops_everything(folder: Path) -> None:
    """The same where every connection is closed without an answer."""
    down_and_back(folder, DOWN_S, share_drop_before=1.0)


def down_for_good(folder: Path) -> None:
    """Exit 4 within --patience, with the reason, and it can be resumed."""
    patience_s = 6
    ids = user_ids(10_000)
    with case(folder, ids, latency_s=0.02, options=("--rate", 200, "--chunk-size", 10)) as it:
        process = it.start("--patience", f"{patience_s}s")
        it.wait_until_deleted(1_000)
        it.switch(share_drop_before=1.0)
        began = time.monotonic()
        ran = finish(process)
        assert time.monotonic() - began < patience_s + 3
        assert ran.code == 4, ran.err
        assert ran.summary["status"] == "halted"
        assert "--patience" in ran.err
        assert "To go on:" in ran.err
        assert ran.summary["deleted"] <= it.served.pool.deleted
        it.switch(share_drop_before=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert_all_deleted(it, ids)


def a_token_lives_for_3_s(folder: Path) -> None:
    """Over many lives no chunk fails, and there is one sign-in an expiry however many requests wait for it."""
    ids = user_ids(6_000)
    options = ("--rate", 100, "--chunk-size", 1, "--concurrency", 16)
    # The server checks a token when the request arrives. A busy machine may need 0.6 s until then.
    slow: dict[str, Any] = {"latency_after_s": 0.3, "fault_paths": DELETIONS}
    with case(folder, ids, options=options, token_lifetime_s=3.0, **slow) as it:
        ledger = it.served.ledger
        process = it.start()
        while not ledger.arrivals or ledger.arrivals[-1] - ledger.arrivals[0] < TOKENS_S:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.terminate()  # what was not sent by then is not needed
        ran = finish(process)
        took_s = ledger.arrivals[-1] - ledger.arrivals[0]
        assert ran.code == 128 + signal.SIGTERM, ran.err
        assert ran.summary["deleted"] == it.served.pool.deleted == ledger.by_path[DELETE_PATH] > 250
        assert ran.summary["retries"] == 0
        assert ledger.answers.keys() == {"200"}, ledger.answers
        renewals = ledger.by_path[TOKEN_PATH] - 2  # the survey and the sending sign in once each
        assert took_s / 3.0 - 1 <= renewals <= took_s / 2.4, "a fifth of its life before it ends"


@tried_again
def the_rate_across_restarts(folder: Path) -> None:
    """Killed and started again at once, six times: no session bursts on top of the last second of the one before."""
    rate = 6
    ids = user_ids(60)
    with case(folder, ids, options=("--rate", rate, "--chunk-size", 5)) as it:
        ledger = it.served.ledger
        for _ in range(6):
            before = ledger.by_path[DELETE_PATH]
            process = it.start()
            while ledger.by_path[DELETE_PATH] == before:
                assert process.poll() is None, process.communicate()
                time.sleep(0.001)
            kill(process)
        it.served.script("500", "drop_after", None, "500")
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert_all_deleted(it, ids)
        assert ledger.by_path[TOKEN_PATH] == 14, "sign-ins count as well"
        assert_bound(ledger.arrivals, rate)


@tried_again
def the_rate_after_a_429(folder: Path) -> None:
    """A 429 halves the rate, which climbs slowly: sign-ins and retries included, the bound of the ceiling holds, and
    after each pause that of half the rate before it."""
    rate = 10
    ids = user_ids(100)
    options = ("--rate", rate, "--chunk-size", 1, "--concurrency", 2)
    with case(folder, ids, options=options, token_lifetime_s=5.0, retry_after="seconds", retry_after_s=3.0) as it:
        it.served.script(*[None] * 25, "500", *[None] * 5, "429", *[None] * 20, "drop_after", *[None] * 10, "429")
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert ran.summary["throttled"] == 2
        assert ran.summary["retries"] == 2
        assert it.served.ledger.by_path[TOKEN_PATH] >= 5
        arrivals = it.served.ledger.arrivals
        assert_bound(arrivals, rate)
        pauses = [at for at, (before, at) in zip(arrivals[1:], pairwise(arrivals), strict=True) if at - before > 2.9]
        assert_in_time(len(pauses) == 2, pauses)
        for pause, before in zip(pauses, (rate, rate * 0.6), strict=True):
            now = before / 2 + 0.03 * rate  # and what it may have climbed by then
            after = [at for at in arrivals if pause <= at <= pause + 3.0]
            assert_in_time(len(after) <= now * 3.0 + 1 + 0.02 * rate, len(after), now)


def a_lock_out_is_learned(folder: Path) -> None:
    """150/s with a 3 s lock-out, the ceiling set to 400: fewer than 2 % of 2,500 requests are answered 429."""
    ids = user_ids(30_000)
    with case(folder, ids, options=("--rate", 400, "--chunk-size", 12), rate_per_s=150, lockout_s=3.0) as it:
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert ran.summary["requests"] >= 2_500
        assert ran.summary["throttled"] < 0.02 * ran.summary["requests"], ran.summary


SCENARIOS: Sequence[Callable[[Path], None]] = (
    *(answers_503, drops_everything, down_for_good, a_token_lives_for_3_s),
    *(the_rate_across_restarts, the_rate_after_a_429, a_lock_out_is_learned),
)


@pytest.fixture(scope="module")
def under_way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """Everything of this file that was selected, already running."""
    selected = {item.name for item in request.session.items if item.path == request.path}
    with ThreadPoolExecutor(len(SCENARIOS)) as threads:
        yield {
            scenario.__name__: threads.submit(scenario, tmp_path_factory.mktemp(scenario.__name__))
            for scenario in SCENARIOS
            if f"test_waiting[{scenario.__name__}]" in selected
        }


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_waiting(scenario: str, under_way: Mapping[str, Future[None]]) -> None:
    """Each of the above."""
    under_way[scenario].result()


@pytest.mark.soak
@pytest.mark.parametrize("down", [{"share_503": 1.0, "fault_style": "http"}, {"share_drop_before": 1.0}], ids=str)
def test_down_for_a_minute(down: Mapping[str, object], tmp_path: Path) -> None:
    down_and_back(tmp_path, 60.0, **down)


def test_the_bound_is_measured() -> None:
    """The measure finds one request too many, and nothing wrong with an even pace."""
    even = [number / 10 for number in range(100)]
    assert_bound(even, 10)
    with pytest.raises(AssertionError, match="2 requests within"):
        assert_bound(sorted([*even, 5.02]), 10)
    with pytest.raises(AssertionError, match="requests within"):
        assert_bound([at if at < 5 else at - 0.08 for at in even], 10)
