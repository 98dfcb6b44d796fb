"""The parts of a log in a store: a store that lies, a directory, the probe, rolls, the gate, the lease."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bulkdel.checkpoint.audit import audit
from bulkdel.checkpoint.open_log import Fenced
from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Entry, Session
from bulkdel.engine.gate import AHEAD_S, Gate, OpenGate
from bulkdel.engine.store_backup import open_backup
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.input.skipped import packed
from bulkdel.place.lease import Terms, TimedLease
from bulkdel.place.log_objects import READING, LogObjects, StoreLines, line_name, roll_name
from bulkdel.place.log_place import INPUT, SKIPPED, PinnedFile
from bulkdel.place.opening import log_at
from bulkdel.store import bucket
from bulkdel.store.certain import HEDGE_S, Retrying, Taken
from bulkdel.store.directory import OBJECT_BYTES_MAX, Directory
from bulkdel.store.file_parts import part_name, parts_of
from bulkdel.store.objects import Objects, open_objects
from bulkdel.store.probe import probe
from bulkdel.store_path import StorePath, store_path
from bulkdel.world import World
from tests import recorded
from tests.mutants import mutant
from tests.objectserver import PASSING, SECRET, Fault, Lie, ObjectServer, object_server
from tests.syntax import negate, swap
from tests.waits import WAIT_MAX_S

URL, RUN = store_path("s3://bucket/run"), "/bucket/run"
ALL_LIES = dict.fromkeys(Lie, 0.08)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with object_server(seed=15) as served:
        for name, value in served.environ.items():
            monkeypatch.setenv(name, value)
        yield served


def noting(asked: list[str], away: str = "") -> World:
    """Stores that note what is read of them. away: an object that is read once; then they are away for it."""

    class Noting(Directory):
        def get(self, name: str) -> bytes | None:
            asked.append(name)
            if name == away and asked.count(name) > 1:
                raise OSError(None, "away")
            return super().get(name)

    return World(open_store=lambda opened: Noting(opened.directory))


def created(objects: Objects, patience_s: float = 20.0) -> Iterator[Retrying]:
    creator = Retrying(objects, patience_s)
    try:
        yield creator
    finally:
        creator.close()


@mutant(
    "an object that is said to exist and is not there counts as created",
    "Retrying._attempt",
    swap('raise OSError(None, f"{name} is said to exist, and cannot be read")', "return 0.0"),
)
def test_a_store_that_lies_gets_each_object_once(store: ObjectServer) -> None:
    """Lost answers, 412 after a success, 409, 500, 503: each object is there, with our bytes, created once."""
    store.switch(shares=ALL_LIES)
    for creator in created(open_objects(URL)):
        for number in range(60):
            creator.create(line_name(number), b"line %d" % number)
    assert store.objects == {f"{RUN}/{line_name(number)}": b"line %d" % number for number in range(60)}
    assert set(store.written.values()) == {1}
    assert store.lies.keys() == set(Lie)


def test_an_object_of_another_writer_is_found_out(store: ObjectServer) -> None:
    store.objects[f"{RUN}/{line_name(7)}"] = b"theirs"
    store.switch(shares={Lie.CONFLICT: 0.3, Lie.CUT: 0.3})
    for creator in created(open_objects(URL)):
        with pytest.raises(Taken):
            creator.create(line_name(7), b"ours")
    assert store.objects[f"{RUN}/{line_name(7)}"] == b"theirs"


def test_a_slow_answer_is_overtaken(store: ObjectServer) -> None:
    """A second attempt with the same bytes finds the effect of the first, whose answer is two seconds late."""
    for creator in created(open_objects(URL)):
        creator.create("log/1", b"a")
        store.switch(slow=1.0)
        threading.Timer(HEDGE_S / 2, lambda: store.switch(slow=0.0)).start()
        began = time.monotonic()
        creator.create("log/2", b"b")
        assert time.monotonic() - began < store.switches.slow_s
        assert store.puts[f"{RUN}/log/2"] >= 2


def test_a_store_that_is_away_is_asked_until_the_patience_ends(store: ObjectServer) -> None:
    store.switch(down=True)
    for creator in created(open_objects(URL), patience_s=1.0):
        with pytest.raises(OSError, match="503"):
            creator.create("log/1", b"a")
        store.switch(down=False)
        creator.create("log/1", b"a")


@mutant(
    "a run with a slow store ends after all attempts that wait",
    "Retrying.close",
    swap("self._threads.shutdown(wait=False, cancel_futures=True)", "self._threads.shutdown(wait=False)"),
)
@mutant(
    "a store that is too slow is said to be away",
    "_failure",
    swap(
        'f"no answer within {REQUEST_S:g} s, so the store is too slow or not reached ({_words_of(error)})"',
        'f"no answer within {REQUEST_S:g} s, so the store is not reached ({_words_of(error)})"',
    ),
)
def test_a_store_that_is_too_slow_is_named_and_ends_after_the_attempts_on_the_wire(
    store: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts that wait for a thread are not begun: a program that ends waits for its threads."""
    monkeypatch.setattr(bucket, "REQUEST_S", 0.4)
    store.switch(put_s=4.0)
    thread = ThreadPoolExecutor(1)
    creator = Retrying(open_objects(URL), 1.3, World(threads=lambda *_: thread))
    with pytest.raises(OSError, match=r"no answer within 0\.4 s, so the store is too slow"):
        creator.create("log/1", b"a")
    creator.close()
    began = store.puts[f"{RUN}/log/1"]
    thread.shutdown()
    assert store.puts[f"{RUN}/log/1"] <= began + 1


def test_a_read_that_fails_is_repeated(store: ObjectServer) -> None:
    """503, half an object, and an answer that is late: the lines and the parts are whole. "None" is an answer."""
    whole = [b"line %d\n" % number for number in range(1, 61)]
    for number, line in enumerate(whole, 1):
        store.objects[f"{RUN}/{line_name(number)}"] = store.objects[f"{RUN}/input/{part_name(number)}"] = line
    store.switch(get_shares=dict.fromkeys(PASSING, 0.1), slow_s=0.05)
    with contextlib.closing(StoreLines(URL, Terms(patience_s=20.0))) as lines:
        assert list(lines) == whole
        assert list(parts_of(Retrying.at(URL / "input", 20.0))) == whole
        assert store.get_lies.keys() == set(PASSING)
        store.switch(get_shares={})
        began = time.monotonic()
        assert lines.line(61) is None
        assert time.monotonic() - began < 15.0, "the patience is 20 s"


def test_a_log_is_read_until_the_patience_ends(store: ObjectServer) -> None:
    store.switch(down=True)
    began = time.monotonic()
    with pytest.raises(NotAcceptable, match=r"the store cannot be read: .*503"):
        read_log(log_at(URL, Terms(patience_s=1.0)))
    assert 1.0 <= time.monotonic() - began < WAIT_MAX_S / 5


def test_a_read_may_take_long_and_must_not_be_silent(store: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roll of 16 MB takes more than three seconds on most lines."""
    monkeypatch.setattr("bulkdel.store.bucket.REQUEST_S", 0.5)
    store.objects[f"{RUN}/roll"] = bytes(100_000)
    store.bytes_s = 100_000
    objects = open_objects(URL)
    assert objects.get("roll") == bytes(100_000)
    store.bytes_s = 0
    store.switch(get_shares={Fault(late=True): 1.0}, slow_s=2.0)
    with pytest.raises(OSError):
        objects.get("roll")


@mutant(
    "a large object of a store has the time limit of a small one",
    "Remote._writer",
    swap("1 << bits", "1 << SMALL_BITS"),
)
@mutant(
    "a second attempt takes the bandwidth of a large object",
    "HEDGED_BYTES",
    swap("10", "20"),
)
def test_parts_go_over_a_slow_line(store: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part takes two seconds, four times the limit of a commit, and is sent once."""
    monkeypatch.setattr("bulkdel.store.bucket.REQUEST_S", 0.5)
    monkeypatch.setattr("bulkdel.place.log_objects.PART_BYTES", 400_000)
    store.bytes_s = 200_000
    place, rows, data = log_at(URL, Terms(patience_s=10.0)), PinnedFile(INPUT, "a" * 64), os.urandom(800_000)
    spool = place.spool()
    spool.write(data)
    assert words_of_failure(lambda: place.keep(rows, spool)) == ""
    spool.close()
    assert store.puts == {f"{RUN}/input/{rows.sha256}/{part_name(number)}": 1 for number in (1, 2)}
    assert b"".join(parts_of(Retrying.at(URL), f"input/{rows.sha256}/")) == data


def words_of_failure(step: Callable[[], None]) -> str:
    """The words of what it raises, or ""."""
    try:
        step()
    except (FileFailed, OSError) as error:
        return str(error)
    return ""


@dataclass
class Away:
    """A store that fails between two times of a clock that only waiting moves. arrives: when there is the object."""

    away: tuple[float, float]
    arrives: float = 0.0
    now: float = 0.0
    hedged: bool = False
    rounds: int = 1

    def create(self, name: str, data: bytes) -> bool:
        return False

    def get(self, name: str) -> bytes | None:
        self.now += 0.01
        if self.away[0] <= self.now < self.away[1]:
            raise OSError(None, "away")
        return b"there" if self.now >= self.arrives else None

    def listed(self, after: str) -> list[str]:
        return []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def world(self) -> World:
        return World(boot=lambda: self.now, sleep=self.sleep, open_store=lambda _: self)


def answer(read: Callable[[], bytes | None]) -> bytes | str | None:
    """What was read, or the words of the failure."""
    try:
        return read()
    except (OSError, NotAcceptable) as error:
        return str(error)


class Sleeping:
    """A store on a machine that sleeps for 16 minutes during the first creation. answer: what that gets then, later."""

    hedged = True
    rounds = 1

    def __init__(self, answer: bool | OSError) -> None:
        self._answer = answer
        self._asleep = threading.Event()
        self.now = 0.0
        self.written: list[bytes] = []

    def create(self, name: str, data: bytes) -> bool:
        if self._asleep.is_set():
            self.written.append(data)
            return True
        self._asleep.set()
        self.now += 960.0
        time.sleep(HEDGE_S * 3)  # longer than the creator waits before it looks at the clock
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer

    def get(self, name: str) -> bytes | None:
        return b"ours"

    def listed(self, after: str) -> list[str]:
        return []

    def created(self) -> str:
        """Create an object with a patience of 15 minutes. Returns the words of the failure, or ""."""
        creator = Retrying(self, 900.0, World(boot=lambda: self.now))
        try:
            creator.create("log/1", b"ours")
        except OSError as error:
            return str(error)
        finally:
            creator.close()
        return ""


@mutant(
    "the time in which the machine slept uses up the patience of a commit",
    "Patience.over",
    swap("min(now - self._looked_at, STEP_S)", "max(now - self._looked_at, STEP_S / 1e9)"),
)
@pytest.mark.parametrize("late", [True, False, OSError(None, "connection reset")])
def test_a_machine_that_sleeps_during_a_commit(late: bool | OSError) -> None:
    """The clock counts that time, and the patience does not: nothing was tried while the machine slept."""
    assert Sleeping(late).created() == ""


def test_a_store_that_never_answers_is_named() -> None:
    over = threading.Event()

    class Silent(Away):
        def create(self, name: str, data: bytes) -> bool:
            return over.wait(10) and super().create(name, data)

    creator = Retrying(Silent((0.0, 0.0)), 0.2)
    try:
        with pytest.raises(OSError) as failed:
            creator.create("log/1", b"")
    finally:
        over.set()
        creator.close()
    assert failed.value.strerror == "no answer from the store"


@mutant(
    "a read of a store that fails is not repeated",
    "Retrying.get",
    negate("self._closed"),
)
def test_a_read_is_repeated_until_the_patience_ends() -> None:
    back = Away((0.0, 25.0))
    assert answer(lambda: Retrying(back, 30.0, back.world).get("a")) == b"there"
    assert 25 <= back.now <= 26.1, "it is asked again every second"
    gone = Away((0.0, 100.0))
    assert "away" in str(answer(lambda: Retrying(gone, 30.0, gone.world).get("a")))
    assert 30 <= gone.now <= 32


@mutant(
    "a watch takes a store that is away for the silence of the other process",
    "StoreLines.wait_for",
    swap("now - looked_at > LOOK_S", "now - looked_at > 1e9 * LOOK_S"),
)
def test_a_watch_that_cannot_read_the_store_hears_no_silence() -> None:
    """The process that is watched cannot write either. What it writes when the store is back is seen in time."""
    terms, path = Terms(patience_s=60.0), store_path("file:///watched")

    def watched(store: Away) -> bytes | str | None:
        place = LogObjects(path, replace(terms, world=store.world))
        return answer(lambda: place.watch(7))

    for away in ((3.0, 8.0), (3.0, 40.0), (4.9, 20.0)):
        assert watched(Away(away, arrives=away[1] + 5)) == b"there", away
    silent = Away((3.0, 13.0), arrives=1e9)
    assert watched(silent) is None
    assert 21 <= silent.now <= 23, "11 s, and the 10 s of the outage"
    assert "the store cannot be read: away" in str(watched(Away((3.0, 100.0), arrives=1e9)))


@mutant(
    "a process that was taken over reads again which line was written in its place",
    "OpenLog.commit",
    swap("taken.found", 'next(iter(self._lines.following(self.seq + 1)), b"")'),
)
def test_a_process_that_was_taken_over_names_the_other_one(tmp_path: Path) -> None:
    """The line that shows it is read once. The store may be away after that."""
    path = store_path(f"file://{tmp_path}/store")

    async def scenario() -> str:
        old = await begun(path, 1, Terms(patience_s=0.5, world=noting([], away=line_name(3))))
        new = await begun(path, 2, Terms(take_over=True))
        old.touch()
        with contextlib.suppress(FileFailed):
            await old.flush()
        await asyncio.gather(old.aclose(), new.aclose())
        return str(old.failure)

    said = asyncio.run(scenario())
    assert "pid 2" in said
    assert "has taken it over" in said


@mutant(
    "a store that is lost during a watch is said to take no more",
    "WritableObjects.watch",
    swap("OSError", "FileNotFoundError"),
)
def test_a_store_that_is_lost_during_the_watch_cannot_be_read(tmp_path: Path) -> None:
    """Nothing was sent, so that is exit code 3, as where it cannot be read at first."""
    path = store_path(f"file://{tmp_path}/store")
    filled(path, 1, 3)
    terms = Terms(patience_s=0.2, world=noting([], away=line_name(3)))
    with pytest.raises((NotAcceptable, FileFailed), match="the store cannot be read: away") as failed:
        Checkpoint.resume(log_at(path, terms))
    assert isinstance(failed.value, NotAcceptable)


def test_no_error_shows_a_secret(store: ObjectServer) -> None:
    store.switch(down=True)
    objects = open_objects(URL)
    for ask in (lambda: objects.get("log/1"), lambda: objects.create("log/1", b"")):
        with pytest.raises(OSError, match="503") as failed:
            ask()
        assert SECRET not in f"{failed.value}{failed.value.__context__}"
    with pytest.raises(NotAcceptable, match="cannot be written"):
        probe(objects, URL)


@pytest.mark.parametrize("shares", [{}, {Lie.LOST: 0.3}, {Lie.EXISTS: 0.2}, {Lie.CONFLICT: 0.5}])
def test_the_probe_accepts_a_store_that_fences(shares: dict[Lie, float], store: ObjectServer) -> None:
    store.switch(shares=shares)
    probe(open_objects(URL), URL)


class Racy:
    """A store that lets a second writer create an object in one round of three."""

    hedged = True
    rounds = 8

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.twice = 0
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes) -> bool:
        with self._lock:
            again = name in self.objects and len(self.objects) % 3 == 0 and self.twice == 0
            if name in self.objects and not again:
                return False
            self.twice += again
            self.objects[name] = data
            return True

    def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def listed(self, after: str) -> list[str]:
        return []


@mutant(
    "a probe of a store plays one round",
    "probe",
    swap("len(created) == objects.rounds", "len(created) <= objects.rounds"),
)
def test_the_probe_plays_several_rounds_against_a_store_that_rarely_lets_two_create() -> None:
    store = Racy()
    with pytest.raises(NotAcceptable, match="2 of 16 writers created the same object"):
        probe(store, URL)
    assert len(store.objects) == 3


@mutant(
    "a store that does not fence is accepted",
    "probe",
    swap("1", "AT_ONCE"),
)
def test_the_probe_refuses_a_store_that_does_not_fence(store: ObjectServer) -> None:
    store.switch(fences=False)
    with pytest.raises(NotAcceptable, match="could not be kept apart"):
        probe(open_objects(URL), URL)


def test_a_log_in_a_store_that_lies(store: ObjectServer) -> None:
    """It is created, written, read and resumed; joined it is the log, byte for byte."""
    store.switch(shares=ALL_LIES)
    place = log_at(URL, Terms(world=World(lease_s=0.5)))

    async def sessions() -> str:
        log = Checkpoint.create(place, recorded.header(20))
        assert not is_fresh(place)
        for row in range(10):
            if row == 5:
                await log.aclose()
                log = Checkpoint.resume(place)
            if row in (0, 5):
                await recorded.append(log, Session("start", recorded.AT, "", {"pid": row}))
            await recorded.append(log, recorded.deleted(row, row + 1))
            if row in (4, 9):
                await recorded.append(log, Session("stop", recorded.AT, "", {"why": "done"}))
        await log.aclose()
        return log.sha256

    sha256 = asyncio.run(sessions())
    assert sha256 == hashlib.sha256(b"".join(store.lines(RUN))).hexdigest()
    read = read_log(log_at(URL))
    assert (read.progress.settled.size, read.progress.sessions, read.sha256) == (10, 2, sha256)


def test_a_failing_store_ends_the_run_and_not_before_the_patience(store: ObjectServer) -> None:
    async def session() -> None:
        log = Checkpoint.create(log_at(URL, Terms(patience_s=1.0)), recorded.header(20))
        await recorded.append(log, Session("start", recorded.AT, "", {"pid": 1}))
        store.switch(down=True)
        began = time.monotonic()
        with pytest.raises(FileFailed, match=r"503.*Check the store"):
            await recorded.append(log, recorded.deleted(0, 1))
        assert time.monotonic() - began >= 1.0
        await log.aclose()

    asyncio.run(session())


# --- a directory


def writers(folder: Path, name: str, count: int) -> list[bool]:
    objects = Directory(folder)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: objects.create(name, b"%d" % number), range(count)))


@mutant(
    "a file of a store is replaced",
    "Directory.create",
    swap("os.link(part, path)", "part.replace(path)"),
)
def test_one_of_many_writers_creates_a_file(tmp_path: Path) -> None:
    won = writers(tmp_path / "store", "log/1", 16)
    assert sum(won) == 1
    assert (tmp_path / "store/log/1").read_bytes() == b"%d" % won.index(True)
    assert [path.name for path in (tmp_path / "store/log").iterdir()] == ["1"], "no half of a file is left"
    assert Directory(tmp_path / "store").get("log/2") is None


def test_the_first_writers_may_make_the_folder_at_the_same_time(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for round_ in range(50):
            assert sum(writers(tmp_path / str(round_), "log/1", 16)) == 1
    finally:
        sys.setswitchinterval(interval)


KILL_AT_LINK = """
import os, signal, sys
from pathlib import Path
from bulkdel.store.directory import OBJECT_BYTES_MAX, Directory
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Directory(Path(sys.argv[1])).create("log/1", b"half")
"""


def test_a_writer_that_is_killed_leaves_no_object(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILL_AT_LINK, str(tmp_path / "store")], check=False)
    assert done.returncode == -signal.SIGKILL
    objects = Directory(tmp_path / "store")
    assert objects.get("log/1") is None
    assert objects.create("log/1", b"whole")


def test_a_directory_that_goes_is_not_made_again(tmp_path: Path) -> None:
    """Removed, or no longer mounted: a new one would hold a log without its beginning."""
    objects = Directory(tmp_path / "store")
    assert objects.create("log/1", b"1")
    (tmp_path / "store").rename(tmp_path / "away")
    for name in ("log/2", "roll/1"):
        with pytest.raises(FileNotFoundError):
            objects.create(name, b"2")
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    with pytest.raises(FileNotFoundError):
        objects.create("log/2", b"2")
    (tmp_path / "store").rmdir()
    (tmp_path / "away").rename(tmp_path / "store")
    assert objects.create("log/2", b"2")
    assert objects.create("roll/1", b"1")


def test_what_is_no_file_is_no_object(tmp_path: Path) -> None:
    """Reading a named pipe would never end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with pytest.raises(OSError):
            Directory(tmp_path).get(name)


@mutant(
    "a file of any size in a store is read",
    "Directory.get",
    swap("found.st_size > OBJECT_BYTES_MAX", "found.st_size < 0"),
)
def test_what_is_larger_than_any_object_is_not_read(tmp_path: Path) -> None:
    """Another person who may write to the store could fill the memory of this machine by it."""
    for size in (OBJECT_BYTES_MAX, OBJECT_BYTES_MAX + 1):
        (tmp_path / str(size)).touch()
        os.truncate(tmp_path / str(size), size)
    objects = Directory(tmp_path)
    assert objects.get(str(OBJECT_BYTES_MAX)) == bytes(OBJECT_BYTES_MAX)
    with pytest.raises(OSError, match="larger than any object"):
        objects.get(str(OBJECT_BYTES_MAX + 1))


@mutant(
    "a folder of a store that is a link is followed",
    "Directory._path",
    negate("(self._root / folder).is_symlink()"),
)
def test_a_folder_of_a_store_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Another person who may write to the store could name any folder of this machine by it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1").write_bytes(b"of another program")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/log").symlink_to(tmp_path / "elsewhere")
    objects = Directory(tmp_path / "store")
    for step in (lambda: objects.create("log/2", b"2"), lambda: objects.get("log/1"), lambda: objects.listed("log/0")):
        with pytest.raises(OSError, match="log is a link"):
            step()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["1"]
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")  # the person at this machine names the root
    assert Directory(tmp_path / "root").get("1") == b"of another program"


def filled(path: StorePath, first: int, stop: int, nonce: str = recorded.NONCE) -> list[bytes]:
    """Write these lines as objects: line 1 is the header, line 2 begins a session, the others settle a row each."""
    lines: list[bytes] = []
    (path.directory / "log").mkdir(parents=True, exist_ok=True)
    for seq in range(first, stop):
        entry: Entry = recorded.deleted(seq - 3, seq - 2) if seq > 2 else recorded.header(3_000)
        if seq == 2:
            before = hashlib.sha256(lines[0]).hexdigest()
            entry = Session("start", recorded.AT, before, {"pid": 1})
        lines.append(recorded.encode_line(seq, [entry], nonce))
        (path.directory / line_name(seq)).write_bytes(lines[-1])
    return lines


def wait_for_object(objects: Objects, name: str) -> bytes:
    until = time.monotonic() + WAIT_MAX_S
    while (found := objects.get(name)) is None:
        assert time.monotonic() < until, name
        time.sleep(0.01)
    return found


def test_rolls_spare_requests(tmp_path: Path) -> None:
    """A thousand lines become one object, when the last of them is written; one that is missing is made again."""
    path = store_path(f"file://{tmp_path}/store")
    lines = filled(path, 1, 2_003)
    objects = Directory(path.directory)

    async def go_on() -> None:
        log = Checkpoint.resume(log_at(path, Terms(take_over=True)))
        wait_for_object(objects, roll_name(2_000))
        await recorded.append(log, Session("start", recorded.AT, "", {"pid": 2}))
        for row in range(2_000, 2_050):
            await recorded.append(log, recorded.deleted(row, row + 1))
        await log.aclose()

    asyncio.run(go_on())
    assert objects.get(roll_name(2_000)) == b"".join(lines[1_000:2_000])
    assert objects.get(roll_name(1_000)) is None, "an earlier one is made by its own session"
    asked: list[str] = []

    def read() -> list[bytes]:
        asked.clear()
        counted = StoreLines(path, replace(READING, world=noting(asked)))
        try:
            return list(counted)
        finally:
            counted.close()

    whole = read()
    assert (whole[:2_002], len(whole)) == (lines, 2_053)
    assert len(asked) > 1_000
    objects.create(roll_name(1_000), b"".join(lines[:1_000]))
    assert read() == whole
    assert len(asked) < 200
    assert read_log(log_at(path)).progress.settled.size == 2_050


def test_a_roll_of_another_writer_replaces_no_line(tmp_path: Path) -> None:
    """One with another last line does not count. The audit reads the lines alone, also where the last line is right."""
    path = store_path(f"file://{tmp_path}/store")
    lines = filled(path, 1, 1_203)
    objects, sha256 = Directory(path.directory), read_log(log_at(path)).sha256

    def with_another(seq: int) -> list[bytes]:
        entry = recorded.deleted(seq - 3, seq - 2)._replace(at="2026-03-01T13Z")
        return [*lines[: seq - 1], recorded.encode_line(seq, [entry]), *lines[seq:1_000]]

    for forged, read_too in ((with_another(1_000), True), (with_another(500), False), (lines[999:1_000], True)):
        objects.create(roll_name(1_000), b"".join(forged))
        assert audit(log_at(path)).sha256 == sha256
        assert (read_log(log_at(path)).sha256 == sha256) is read_too
        (path.directory / roll_name(1_000)).unlink()


def test_a_roll_is_written_at_its_last_line(tmp_path: Path) -> None:
    path = store_path(f"file://{tmp_path}/store")
    filled(path, 1, 999)
    objects = Directory(path.directory)

    async def go_on() -> None:
        log = Checkpoint.resume(log_at(path, Terms(take_over=True)))
        await recorded.append(log, Session("start", recorded.AT, "", {"pid": 2}))
        assert objects.get(roll_name(1_000)) is None
        await recorded.append(log, recorded.deleted(996, 997))
        wait_for_object(objects, roll_name(1_000))
        await log.aclose()

    asyncio.run(go_on())
    assert read_log(log_at(path)).progress.settled.size == 997


def test_a_log_with_a_hole_is_refused(tmp_path: Path) -> None:
    """A line that was deleted must not be created again: what was settled behind it would be sent again."""
    path = store_path(f"file://{tmp_path}/store")

    async def fill() -> None:
        log = Checkpoint.create(log_at(path), recorded.header(10))
        await recorded.append(log, Session("start", recorded.AT, "", {"pid": 1}))
        for row in range(5):
            await recorded.append(log, recorded.deleted(row, row + 1))
        await log.aclose()

    asyncio.run(fill())
    (path.directory / line_name(5)).rename(tmp_path / "away")
    hole = r"log/000000000005 is missing, and log/000000000006 is there"
    with pytest.raises(NotAcceptable, match=hole):
        read_log(log_at(path))
    with pytest.raises(NotAcceptable, match=hole):
        Checkpoint.resume(log_at(path, Terms(take_over=True)))
    assert not (path.directory / line_name(5)).exists()
    (path.directory / line_name(5)).write_bytes((tmp_path / "away").read_bytes()[:-9])
    with pytest.raises(
        NotAcceptable, match=r"line 5 .* is damaged.*copy of the objects.*In another place \(--run\) the run"
    ):
        read_log(log_at(path))


def test_a_log_without_its_first_lines_is_not_a_new_one(tmp_path: Path) -> None:
    """A lifecycle rule deletes the oldest objects first."""
    path = store_path(f"file://{tmp_path}/store")
    filled(path, 1, 100)
    for seq in range(1, 50):
        (path.directory / line_name(seq)).unlink()
    with pytest.raises(NotAcceptable, match=r"log/000000000001 is missing, and log/0000000000\d\d is there"):
        is_fresh(log_at(path))


@mutant(
    "a roll that is too long is read to its end",
    "WritableObjects._joined",
    swap("len(roll) > ROLL_BYTES_MAX", "count == LINES_A_ROLL and len(roll) > ROLL_BYTES_MAX"),
)
def test_a_roll_that_would_be_too_long_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried at each resume, and lines may have a megabyte: no more of them are read than a roll may hold."""
    monkeypatch.setattr("bulkdel.place.log_objects.ROLL_BYTES_MAX", 10_000)
    path = store_path(f"file://{tmp_path}/store")
    filled(path, 1, 1_002)
    asked: list[str] = []
    terms = Terms(take_over=True, world=noting(asked))
    log = Checkpoint.resume(log_at(path, terms))
    again = wait_for(lambda: asked[asked.index(line_name(1_002)) :].count(line_name(1)))
    time.sleep(0.2)
    assert again == 1
    after = asked[asked.index(line_name(1_002)) :]
    assert sum(name.startswith("log/") for name in after) < 200
    assert Directory(path.directory).get(roll_name(1_000)) is None
    log.close()


def wait_for(count: Callable[[], int]) -> int:
    """Wait until there is one."""
    until = time.monotonic() + WAIT_MAX_S
    while not (found := count()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def said_of(path: StorePath) -> str:
    """What is said when a log is read, and when a session begins; "" where it is read."""
    said = []
    for read in (
        lambda: read_log(log_at(path)),
        lambda: Checkpoint.resume(log_at(path, Terms(take_over=True))).close(),
    ):
        try:
            read()
        except NotAcceptable as error:
            said.append(str(error))
    assert len(said) in {0, 2}
    return said[0] if said else ""


@mutant(
    "a long hole in the log of a store is taken for its end",
    "StoreLines._behind",
    swap("line_name(missing)", "line_name(missing + 10**9)"),
)
@pytest.mark.parametrize(
    ("stop", "away"), [(201, range(50, 151)), (161, range(50, 151)), (201, range(3, 200)), (1_200, range(1_001, 1_199))]
)
def test_a_log_with_a_long_hole_is_refused(stop: int, away: range, tmp_path: Path) -> None:
    """However many lines were deleted, and however few are behind them. Above a thousand, a roll has the others."""
    path = store_path(f"file://{tmp_path}/store")
    lines = filled(path, 1, stop)
    if stop > 1_000:
        Directory(path.directory).create(roll_name(1_000), b"".join(lines[:1_000]))
    assert said_of(path) == ""
    for seq in away:
        (path.directory / line_name(seq)).unlink()
    assert f"{line_name(away[0])} is missing, and {line_name(away.stop)} is there: an object of" in said_of(path)


@mutant(
    "a roll behind the end of a log is not looked for",
    "StoreLines._behind",
    swap("listed(line_name(missing)) or listed(roll_name(missing))", "listed(line_name(missing))"),
)
def test_a_roll_shows_that_lines_were_deleted(tmp_path: Path) -> None:
    """All objects of lines are gone, and the roll of the first thousand."""
    path = store_path(f"file://{tmp_path}/store")
    (path.directory / "log").mkdir(parents=True)
    assert is_fresh(log_at(path))
    Directory(path.directory).create(roll_name(2_000), b"")
    with pytest.raises(NotAcceptable, match=r"log/000000000001 is missing, and roll/000000002000 is there"):
        is_fresh(log_at(path))


@mutant(
    "where lines may not be listed none are looked for",
    "BEHIND",
    swap("21", "1"),
)
@pytest.mark.parametrize("lists", [True, False])
def test_a_hole_in_an_object_store(lists: bool, store: ObjectServer, tmp_path: Path) -> None:
    """Credentials that may not list do no harm. Then fewer holes are seen."""
    store.switch(lists=lists)
    for seq, line in enumerate(filled(store_path(f"file://{tmp_path}"), 1, 201), 1):
        store.objects[f"{RUN}/{line_name(seq)}"] = line
    store.objects[f"{RUN}/log/000000000200.copy"] = b""
    assert read_log(log_at(URL)).progress.settled.size == 198
    for seq in range(50, 151):
        del store.objects[f"{RUN}/{line_name(seq)}"]
    with pytest.raises(NotAcceptable, match=r"log/000000000050 is missing, and log/000000000\d\d\d is there"):
        read_log(log_at(URL))
    for seq in range(161, 201):
        del store.objects[f"{RUN}/{line_name(seq)}"]
    if lists:
        with pytest.raises(NotAcceptable, match=r"log/000000000050 is missing, and log/000000000151 is there"):
            read_log(log_at(URL))
    else:
        assert read_log(log_at(URL)).progress.settled.size == 47


def test_a_log_that_grows_while_it_is_read_has_no_hole(tmp_path: Path) -> None:
    """The line that was missing is there when it is looked for again."""
    path = store_path(f"file://{tmp_path}/store")
    lines = filled(path, 1, 10)

    class Growing(Directory):
        def listed(self, after: str) -> list[str]:
            filled(path, 10, 14)
            return super().listed(after)

    with contextlib.closing(
        StoreLines(path, replace(READING, world=World(open_store=lambda opened: Growing(opened.directory))))
    ) as read:
        assert list(read) == lines


def test_one_of_two_processes_creates_the_log(tmp_path: Path) -> None:
    """The other is refused, and the skipped rows of each lie below their SHA-256."""
    path = store_path(f"file://{tmp_path}/store")
    left_out, other = recorded.skipped(duplicate=[(1, 2)]), recorded.skipped(duplicate=[(2, 3)])
    place = log_at(path)
    place.keep(PinnedFile(SKIPPED, str(recorded.header(10, other).skipped_sha256)), packed(other, 10))
    assert is_fresh(place), "a process was killed before it wrote a header"
    Checkpoint.create(place, recorded.header(10, left_out), left_out).close()
    with pytest.raises(NotAcceptable, match=r"a log exists already\. Run the same command again to go on"):
        Checkpoint.create(place, recorded.header(10, other), other)
    assert read_log(place).progress.skipped == left_out


def test_one_of_two_sessions_begins(tmp_path: Path) -> None:
    """Both have read the same log, which no session has. The one that is late is refused, and names the other."""
    path = store_path(f"file://{tmp_path}/store")
    Checkpoint.create(log_at(path), recorded.header(10)).close()

    async def begin() -> None:
        logs = [Checkpoint.resume(log_at(path)) for _ in range(2)]
        logs[0].enqueue(Session("start", recorded.AT, "", {"pid": 1}))
        await logs[0].begun()
        logs[1].enqueue(Session("start", recorded.AT, "", {"pid": 2}))
        with pytest.raises(
            NotAcceptable,
            match=r"pid 1.* has begun before this one. Nothing was sent. To see it:\n  bulkdel status file://",
        ):
            await logs[1].begun()
        for log in logs:
            log.close()

    asyncio.run(begin())


# --- the lease and the gate


ENOUGH = 200
"""Lines after which a process that is always faster would have been taken over all the same."""


class Far:
    """A store far away: each request takes 20 ms."""

    hedged = False
    rounds = 1

    def __init__(self, path: StorePath) -> None:
        self._objects = open_objects(path)

    def create(self, name: str, data: bytes) -> bool:
        time.sleep(0.02)
        return self._objects.create(name, data)

    def get(self, name: str) -> bytes | None:
        time.sleep(0.02)
        return self._objects.get(name)

    def listed(self, after: str) -> Iterable[str]:
        return self._objects.listed(after)


async def begun(path: StorePath, pid: int, terms: Terms) -> Checkpoint:
    place = log_at(path, terms)
    fresh = is_fresh(log_at(path))
    log = Checkpoint.create(place, recorded.header(10)) if fresh else Checkpoint.resume(place)
    log.enqueue(Session("start", recorded.AT, "", {"pid": pid}))
    await log.begun()
    return log


async def test_a_busy_process_is_taken_over(tmp_path: Path) -> None:
    """It writes a line every 30 ms, and a request takes 20 ms: its successor writes first after some tries."""
    path = store_path(f"file://{tmp_path}/store")
    far = Terms(take_over=True, world=World(open_store=Far))
    owner = await begun(path, 1, far)

    async def write() -> None:
        with contextlib.suppress(FileFailed):
            while True:
                owner.touch()
                await owner.flush()
                await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.3)
    taker = await asyncio.wait_for(begun(path, 2, far), WAIT_MAX_S)
    await asyncio.wait_for(writing, WAIT_MAX_S)
    assert isinstance(owner.failure and owner.failure.__cause__, Fenced)
    await asyncio.gather(owner.aclose(), taker.aclose())


@mutant(
    "a busy process is tried to be taken over for ever",
    "WritableObjects.append",
    swap("now > self._overtakes_until", "now > self._overtakes_until + 1e9"),
)
async def test_a_process_that_is_always_faster_is_named_in_the_end(tmp_path: Path) -> None:
    path = store_path(f"file://{tmp_path}/store")
    owner = await begun(path, 1, Terms())

    class Late(Far):
        """A store in which the owner has always just written the next line."""

        def create(self, name: str, data: bytes) -> bool:
            if name.startswith("log/") and owner._file.seq < ENOUGH:  # noqa: SLF001
                owner._file.commit([])  # noqa: SLF001
            return super().create(name, data)

    terms = Terms(take_over=True, world=World(open_store=Late, lease_s=0.05))
    said = ""
    try:
        await (await begun(path, 2, terms)).aclose()
    except NotAcceptable as error:
        said = str(error)
    assert "pid 1" in said
    assert "goes on writing, so it is not gone: stop it first. Nothing was sent." in said
    await owner.aclose()


def test_a_lease_counts_from_its_begin() -> None:
    now = [100.0]
    lease = TimedLease(Terms(world=World(boot=lambda: now[0])))
    assert (lease.valid, lease.renewal_due) == (False, True), "before the first commit nothing may be sent"
    lease.renew(95.0)
    for now[0], valid in ((100.0, True), (104.99, True), (105.0, False)):
        assert lease.valid is valid
    lease.succeed()
    for now[0], left_s in ((105.0, 11.0), (110.0, 6.0), (117.0, 0.0)):
        assert lease.predecessor_s == pytest.approx(left_s)


@mutant(
    "every chunk of a run with --store has an intent",
    "Gate._has_room",
    swap("AHEAD_S", "10"),
)
def test_the_gate_lets_in_what_the_rate_sends_soon() -> None:
    """First in, first out; a place that is given back goes to the next; a place that is not taken is not lost."""

    async def scenario() -> None:
        gate, entered = Gate(lambda: 15.0), list[int]()
        room = int(15 * AHEAD_S)

        async def chunk(number: int) -> None:
            await gate.enter()
            entered.append(number)

        tasks = [asyncio.create_task(chunk(number)) for number in range(9)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entered == list(range(room))
        tasks[room].cancel()
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.sleep(0)
        assert entered == [*range(room), room + 1]
        gate.leave()
        tasks[room + 2].cancel()  # its turn has come, and it does not take it
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(20):
            if len(entered) == 8 - 1:
                break
            gate.leave()
            await asyncio.sleep(0)
        assert entered == [0, 1, 2, 4, 6, 7, 8]
        assert (await asyncio.gather(*tasks, return_exceptions=True)).count(None) == 7

    asyncio.run(scenario())


def test_the_gate_is_open_without_a_rate_and_for_a_file() -> None:
    async def scenario() -> None:
        for gate in (OpenGate(), Gate(lambda: 0.0)):
            for _ in range(1_000):
                await asyncio.wait_for(gate.enter(), 1)

    asyncio.run(scenario())


def test_obstore_is_named_where_it_is_missing() -> None:
    script = (
        "import sys; sys.modules['obstore'] = None\n"
        "from bulkdel.store.objects import open_objects\nfrom bulkdel.store_path import store_path\n"
        "open_objects(store_path('s3://b/x'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install '.[remote]' in the clone of bulkdel" in done.stderr


@mutant(
    "a backup in a store has a patience of its own",
    "StoreBackup.begin",
    swap("Retrying.at(path, terms.patience_s, terms.world)", "Retrying.at(path, 900.0, terms.world)"),
)
@pytest.mark.parametrize("patience_s", [10.0, 600.0])
async def test_a_backup_in_a_store_that_is_away_is_given_up_after_the_patience_of_the_run(patience_s: float) -> None:
    """The store is away for a minute of a clock that only waiting moves."""

    class Refusing(Away):
        def create(self, name: str, data: bytes) -> bool:
            self.now += 0.01
            if self.now < self.away[1]:
                raise OSError(None, "away")
            return True

        def get(self, name: str) -> bytes | None:
            return None

    backup = open_backup(URL, None, Terms(patience_s=patience_s, world=Refusing((0.0, 60.0)).world))
    try:
        with contextlib.nullcontext() if patience_s > 60.0 else pytest.raises(FileFailed, match="away"):
            await backup.save([b'{"id":"a"}\n'])
    finally:
        backup.close()
