"""Look-ups that lag behind deletions, as those of a read replica: no id that may be deleted is called refused.

What was really deleted is counted by the server.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH
from tests.examples import one_in
from tests.forum import TOKEN, Forum
from tests.harness import DELETIONS, bulkdel, case, finish, kill, user_ids, wait_until
from tests.httppage import Example, block
from tests.mutants import mutant
from tests.recorded import let_pass
from tests.restserver import Answer, Asked, served
from tests.syntax import swap

IDS = user_ids(40)
ABSENT = user_ids(1, seed=8)
OTHERS = user_ids(1, seed=9)
OPTIONS = ("--rate", 0, "--chunk-size", 20)


@mutant(
    "a look-up that lags is believed",
    "IdRules._contradict",
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
    "Strategy._old_doubt",
    swap("self._chunk.doubt.latest", "self._chunk.doubt.since"),
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


@dataclass
class SaysGone(Forum):
    """Says 410 of the member `lost` once it has deleted it, by a request without a response. Look-ups still find it."""

    lost: str = ""

    def answer(self, asked: Asked) -> Answer:
        match asked.method, asked.path[-1]:
            case "GET", self.lost:
                return 200, self.record(self.lost)
            case "DELETE", self.lost if self.lost in self.members:
                self.remove("members", self.lost)
                return None
            case "DELETE", self.lost:
                return 410, {"message": "gone"}
        return super().answer(asked)


@mutant("an id that an API calls gone is refused", "DEFAULTS", swap("410", "411"))
def test_an_id_that_is_called_gone_is_not_refused_while_look_ups_lag(tmp_path: Path) -> None:
    with served(SaysGone(members={"m1", "m2", "m3"}, lost="m2")) as forum:
        ran = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN}).run("run", "m1", "m2")
        assert (ran.code, ran.counts()) == (4, {"done": 1, "remaining": 1}), ran
        assert forum.members == {"m3"}


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
