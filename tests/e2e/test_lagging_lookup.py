"""Look-ups that lag behind deletions, as those of a read replica: no id that may be deleted is called refused.

What was really deleted is counted by the server.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH
from tests.examples import one_in
from tests.harness import DELETIONS, bulkdel, case, finish, kill, user_ids, wait_until
from tests.mutants import mutant
from tests.recorded import let_pass
from tests.syntax import swap

IDS = user_ids(40)
ABSENT = user_ids(1, seed=8)
OTHERS = user_ids(1, seed=9)
OPTIONS = ("--rate", 0, "--chunk-size", 20)


@mutant(
    "a look-up that lags is believed",
    "ChunkState._contradict",
    swap("sub_chunk.again < LOOKS_AGAIN_MAX", "sub_chunk.again > LOOKS_AGAIN_MAX"),
)
@mutant(
    "look-ups that lag for seconds are not repeated",
    "LOOKS_AGAIN_MAX",
    swap("3", "0"),
)
def test_refused_as_unknown_and_found_is_looked_up_again(tmp_path: Path) -> None:
    """Deleted without an answer, sent again, unknown, and still found by look-ups: looked up again."""
    with case(tmp_path, IDS, users=[*IDS, *OTHERS], options=OPTIONS, unknown_ids="refuse", lag_s=1.5) as it:
        it.served.script("drop_after", "drop_after")
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 40}), ran.err
        assert it.served.ledger.deleted == 40


@mutant(
    "the lag of a row that is sent again is counted from its first request",
    "ChunkInHand._lag_over",
    swap("doubt.latest", "doubt.since"),
)
def test_a_row_of_long_ago_that_is_sent_again_waits_as_a_new_one(tmp_path: Path) -> None:
    """The first request had no effect. The second one, eleven minutes later, has, and its response is lost."""
    switches: dict[str, Any] = {"unknown_ids": "refuse", "share_drop_before": 1.0, "fault_paths": DELETIONS}
    with case(tmp_path, IDS[:1], users=[*IDS[:1], *OTHERS], options=OPTIONS, **switches) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] > 0, process)
        kill(process)
        let_pass(it.log, 11)
        it.switch(share_drop_before=0.0, lag_s=600.0)
        it.served.script("drop_after")
        ran = it.run()
        assert (ran.code, ran.counts(), it.served.ledger.deleted) == (4, {"remaining": 1}, 1), ran.err
        it.switch(lag_s=0.0)
        assert it.run().counts() == {"deleted": 1}


@pytest.mark.parametrize("stop", one_in(2, [False, True]))
def test_a_long_lag_leaves_them_in_doubt_for_the_next_run(stop: bool, tmp_path: Path) -> None:
    """An id that does not exist, and a server that deletes the others and says 404. Every wait wakes up on a signal."""
    ids = [*IDS[:3], *ABSENT]
    with case(tmp_path, ids, users=[*IDS[:3], *OTHERS], options=OPTIONS, unknown_ids="partial", lag_s=600) as it:
        process = it.start()
        if stop:
            looked = it.served.ledger.by_path
            while looked[LOOKUP_PATH] < 5:  # the sample, twice; the first look-up, two repetitions: now it waits 4 s
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            before = looked[LOOKUP_PATH]
        ran = finish(process)
        assert (ran.code, ran.counts()) == (143 if stop else 4, {"absent": 1, "remaining": 3}), ran.err
        if stop:
            assert looked[LOOKUP_PATH] <= before + 1, "the wait woke up: else there are 10 more"
        else:
            assert "look-ups do not show yet what became of 3 ids, because they may lag" in ran.err, ran.err
        assert it.served.ledger.deleted == 3
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 3
        it.switch(lag_s=0.0)
        assert it.run().counts() == {"absent": 1, "deleted": 3}
        told = map(json.loads, bulkdel("results", it.log).out.splitlines())
        assert [row["outcome"] for row in told] == ["deleted"] * 3 + ["absent"]
