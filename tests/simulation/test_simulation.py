"""Runs of the real engine in a world drawn from a seed. README.md says how to replay one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from _pytest.mark.structures import ParameterSet

from tests.examples import ALL, examples
from tests.mutants import mutant
from tests.simulation.api import Weather
from tests.simulation.drawing import draw, plain
from tests.simulation.ids import FORMS
from tests.simulation.server import Customs
from tests.simulation.sessions import ENDS, Session, What
from tests.simulation.world import DeletionWorld, remove
from tests.simulation.worlds import WORLDS
from tests.syntax import drop, swap

FEW, BATCH, OTHERS = 2, 120, 20
"""`make test` plays FEW batches of deletions, and of OTHERS in each other world: 400 runs in all. The soak and mutants
play more batches."""

SOAK = {"deletion": 1_700, "restore": 100, "memberships": 60, "takeovers": 60, "shares": 80}
SOAK_BATCHES = 100
"""`make soak-simulation` plays so many batches, each with so many runs in each world: 200,000 in all."""

FIRST = int(os.environ.get("BULKDEL_SEED", "1000000"))
"""Where the seeds of `make test` begin: the same ones each time, unless BULKDEL_SEED says where."""

FRESH = random.SystemRandom().randrange(10**6) * 10**6
"""Where the seeds of `make soak-simulation` begin, unless BULKDEL_SEED says where: other ones each time."""
ROOT = Path(__file__).parent.parent.parent


def batches(count: int) -> list[ParameterSet]:
    """So many batches: all but the first few only for the soak and mutants."""
    return [pytest.param(n, marks=() if n < FEW else pytest.mark.soak) for n in range(count)]


def play(seed: int, folder: Path, name: str = "deletion") -> None:
    """Play one run in the world of this name. The error names its seed: an AssertionError, or that of the program."""
    own = folder / str(seed)
    own.mkdir()
    world = WORLDS[name](seed, own)
    again = f"python -m tests.simulation {seed} --world {name} --trace"
    try:
        wrong = world.play()
    except Exception as error:
        error.add_note(f"{again}: the program crashed, {world.said}")
        raise
    assert not wrong, "\n".join([again, *wrong[:20], f"the sessions: {world.said}", str(world.drawn)])
    remove(own)


@mutant(
    "the rate limiter has a clock of its own",
    "connect",
    swap(
        "RateLimiter(settings.rate, clock=world.steady, share_clock=world.boot)",
        "RateLimiter(settings.rate, share_clock=world.boot)",
    ),
    case="0",
)
@mutant(
    "breaker and patience have a clock of their own",
    "connect",
    swap("Uptime(world.steady)", "Uptime()"),
    case="3",
)
@pytest.mark.soak
@pytest.mark.parametrize("batch", range(4))
def test_known_seeds(batch: int, tmp_path: Path) -> None:
    """As `test_no_id_is_lost`, with few seeds, for the mutants."""
    for seed in range(batch * 40, (batch + 1) * 40):
        play(seed, tmp_path)


@mutant(
    "a shorter pause replaces a longer one",
    "RateLimiter.join_pause",
    swap("max(self._open_at, self._clock() + seconds)", "self._clock() + seconds"),
)
@mutant(
    "a request on the wire counts as never sent",
    "ChunkInHand.enqueue_outcomes",
    swap("WorkerState.ON_WIRE", "WorkerState.DECIDING"),
)
@mutant(
    "a request without a response counts as never sent",
    "decision_on_no_response",
    swap(
        "Decision(NextStep.RETRY, maybe_applied=missing.sent, untouched=not missing.sent, reason=missing.reason)",
        "Decision(NextStep.RETRY, maybe_applied=missing.sent, untouched=True, reason=missing.reason)",
    ),
)
@mutant(
    "an account is compared with the time of the look-up and not of the intent",
    "IdStrategy._presences",
    swap("since or now", "now"),
)
@mutant(
    "the end of a backup whose sync failed is kept as it is",
    "Backup.open",
    drop("disk.write_at(fd, block, at)"),
)
@mutant(
    "a request that waits in the bucket leaves in a hold",
    "RateLimiter._acquire",
    swap(
        "passed and self._open_at <= self._clock() and self._held_at is None and not self.without_share",
        "passed and self._open_at <= self._clock() and not self.without_share",
    ),
)
@pytest.mark.parametrize("batch", batches(17))
def test_no_id_is_lost(batch: int, tmp_path: Path) -> None:
    """Nothing unmeant is deleted, no outcome is untrue, no request leaves too early, and each run comes to its end."""
    for seed in range(FIRST + batch * BATCH, FIRST + (batch + 1) * BATCH):
        play(seed, tmp_path)


@mutant(
    "a restore cannot go on once most of what is left was never gone",
    "_still_there",
    swap("plan.progress is not None or 2 * len(server.found) <= server.asked", "2 * len(server.found) <= server.asked"),
)
@mutant(
    "an account that was never gone counts as restored where look-ups had ceased to find it",
    "presence_of_created",
    swap("Presence.NEVER_GONE", "Presence.REACHED"),
)
def test_restores_that_were_wrong_once(tmp_path: Path) -> None:
    """Each of these seeds has found a flaw; the first one finds the mutant."""
    for seed in (64, 70, 119, 237, 285, 634):
        play(seed, tmp_path, "restore")


@mutant(
    "the 429 of a sign-in is not told to the other shards",
    "SharedRate._ask_again",
    swap("limited or self._rate_limiter.throttled > self._throttled_told", "limited"),
    case="shares-2",
)
@mutant(
    "a lowered share is given away before its process has heard of it",
    "_Worker.held",
    swap("max((granted.rate for granted in self.granted), default=0.0)", "self.rate"),
    case="shares-6",
)
@mutant(
    "another keeper grants shares at once",
    "RateShares.__init__",
    swap("now + self._lasts_s if restarted else now", "now + self._lasts_s / 100 if restarted else now"),
    case="shares-6",
)
@mutant(
    "a membership that may have been put back is released",
    "ChunkState.end",
    swap(
        "[record for sub_chunk in sub_chunks if not sub_chunk.touched for record in sub_chunk.records]",
        "[record for sub_chunk in sub_chunks for record in sub_chunk.records]",
    ),
    case="memberships-9",
)
@pytest.mark.parametrize("batch", batches(10))
@pytest.mark.parametrize("world", [name for name in WORLDS if name != "deletion"])
def test_no_promise_of_another_world_is_broken(world: str, batch: int, tmp_path: Path) -> None:
    """What a restore, memberships, takeovers and shards promise: simulation/README.md."""
    for seed in range(FIRST + batch * OTHERS, FIRST + (batch + 1) * OTHERS):
        play(seed, tmp_path, world)


@mutant(
    "a user that a state call does not find once does not exist",
    "AccountStates.add",
    swap("await self._controlled(account, worker, texts)", "Verdict.ABSENT"),
)
def test_a_user_that_is_not_found_for_a_moment_is_put_back(tmp_path: Path) -> None:
    """Look-ups find nothing for half a second, while it is asked whether the user is in the group."""
    play(575_722_000_207, tmp_path, "memberships")


def test_a_log_that_is_closed_while_a_write_waits_is_written(tmp_path: Path) -> None:
    """The verification of this run ends before its last write has begun."""
    play(1_000_819, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(SOAK_BATCHES))
def test_two_hundred_thousand_runs(batch: int, tmp_path: Path) -> None:
    """The same with fresh seeds, in every world."""
    for name, runs in SOAK.items():
        first = int(os.environ.get("BULKDEL_SEED", FRESH)) + batch * runs
        for seed in range(first, first + runs):
            play(seed, tmp_path, name)


@mutant(
    "an empty second page is believed",
    "AccountLookup._find_controlled",
    swap("itertools.filterfalse(self.look_ups.may_split, looked.empty)", "()"),
)
def test_look_ups_that_cease_to_find_accounts_between_two_pages_are_not_believed(tmp_path: Path) -> None:
    """A page holds 10 accounts. From some moment on look-ups find none; here from each fifth of a second on."""
    base = plain(
        [f"{number:024x}" for number in range(30)],
        Customs(page=10),
        rate=5.0,
        concurrency=2,
        chunk_size=15,
        look_first=True,
    )
    for tenth in range(0, 40, 1 if ALL else 2):
        drawn = replace(base, sessions=[Session(weather=Weather(blind_s=tenth / 10))])
        folder = tmp_path / str(tenth)
        folder.mkdir()
        assert DeletionWorld(tenth, folder, drawn).play() == [], f"blind after {tenth / 10} s"


@mutant(
    "a look-up counts as up to date as soon as a session got no response",
    "Strategy._old_doubt",
    swap("self._context.lag_is_over(self._chunk.doubt.latest)", "bool(self._chunk.doubt.latest)"),
)
@mutant(
    "an id is refused although a look-up may lag behind its deletion",
    "ChunkState.too_early",
    swap("self.had_no_clear_response or not self.old_doubt", "False"),
)
def test_look_ups_that_lag_behind_a_killed_session_are_not_believed(tmp_path: Path) -> None:
    """It is killed at some turn of its loop; the next one begins a second later, and look-ups lag by eight minutes."""
    base = plain(
        [f"{number:024x}" for number in range(12)],
        Customs(unknown="refuse"),
        rate=20.0,
        concurrency=2,
        chunk_size=3,
        look_first=False,
    )
    lagging = Session(weather=Weather(lag_s=480.0), gap_s=1.0)
    for turn in range(60, 115, 1 if ALL else 5):
        drawn = replace(base, sessions=[Session(end="kill", at=turn), lagging])
        folder = tmp_path / str(turn)
        folder.mkdir()
        assert DeletionWorld(turn, folder, drawn).play() == [], f"killed at turn {turn}"


TRACE = """
import sys
from pathlib import Path
from bulkdel.export.file import Export
from tests.simulation.worlds import WORLDS
Export.state = (0, 0, 0, 0, 0)  # the export is another file each time
for seed in range(int(sys.argv[2])):
    folder = Path(sys.argv[1]) / str(seed)
    folder.mkdir(parents=True)
    world = WORLDS[sys.argv[3]](seed, folder)
    world.play()
    print(*world.trace.lines, *(f"ended: {one}" for one in world.said), sep="\\n")
    print(*(file.read_bytes() for file in sorted(folder.rglob("log.jsonl")) if file.is_file()), sep="\\n")
"""


@pytest.mark.parametrize("name", WORLDS)
def test_a_seed_repeats_exactly(name: str, tmp_path: Path) -> None:
    """Another process, with another hash of its sets and at another time, has the same trace and the same log."""
    printed = []
    for hash_seed in ("1", "2"):
        count = examples(32) if name == "deletion" else examples(8)
        command = [sys.executable, "-c", TRACE, str(tmp_path / "run"), str(count), name]
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        printed.append(done.stdout)
        (tmp_path / "run").rename(tmp_path / f"run with hash seed {hash_seed}")
    assert printed[0].count("\nended: complete") > 1
    assert printed[0] == printed[1]


def test_the_drawn_worlds_have_everything() -> None:
    """Each kind of id, end, server and network occurs in 200 seeds: a world without faults would prove nothing."""
    worlds = [draw(seed) for seed in range(200)]
    sessions = [session for world in worlds for session in world.sessions]
    assert {session.end for session in sessions} == set(ENDS)
    assert {world.id_type for world in worlds} == set(FORMS)
    assert {world.customs.unknown for world in worlds} == {"accept", "refuse", "partial"}
    assert {world.customs.commas for world in worlds} == {"whole", "alone", "each"}
    for name in ("throttled", "bursts", "failing", "failing_after", "garbled", "unsuccessful", "lag_s"):
        assert any(getattr(session.weather, name) for session in sessions), name
    for name in ("unconnected", "lost", "lost_after", "late"):
        assert any(getattr(session.roads, name) for session in sessions), name
    for name in ("excluded", "owner", "backup", "young"):
        assert any(getattr(world, name) for world in worlds), name
    spared = {each.partition("=")[0] for world in worlds for each in world.guards.get("spare", ())}
    assert spared == {"active-since", "created-after"}
    assert any(world.guards and world.guarded_from for world in worlds)
    assert {change.what for session in sessions for change in session.changes} == {*get_args(What)}
    assert any("," in id_ for world in worlds for id_ in world.rows)
    assert any(session.again for session in sessions)
    assert any(session.calm for session in sessions)
    assert any(session.weather.blind_s == 0 for session in sessions)
    assert any(0 < session.weather.blind_s < 3 for session in sessions)
    assert any(session.weather.blind_for_s < 1 for session in sessions)
    assert any(world.verification for world in worlds)
    assert any(world.customs.ahead_s is None for world in worlds)
