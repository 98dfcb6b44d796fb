"""The processes of a batch on an engine that loses some of them with their machines."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.errors import Halted, NotAcceptable
from bulkdel.fleet import supervisor
from bulkdel.fleet.batch_child import RESTARTS, RunEnd, run_child
from bulkdel.fleet.local import LocalProcess, LocalProcesses
from bulkdel.fleet.placing import Environment, Exited, Placed, Said, Stream, Work
from bulkdel.fleet.rate_keeper import keeping_rate
from bulkdel.fleet.supervisor import Restarts, Supervisor
from bulkdel.http.shared_rate import KeeperAddress
from tests.harness import environment, user_ids, write_objects
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S


class OnLostMachine(LocalProcess):
    """A process whose machine is lost after its first word."""

    def __init__(self, placed: LocalProcess) -> None:
        self._placed = placed

    async def poll(self) -> AsyncIterator[Said | Exited]:
        async for said in self._placed.poll():
            if isinstance(said, Said):
                yield said
            break
        await self._placed.kill()
        yield Exited(None)

    async def kill(self) -> None:
        await self._placed.kill()


@dataclass
class LosesSome(LocalProcesses):
    """Loses the processes of the first machines."""

    losses: int
    words: list[Sequence[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(environment({}))

    async def place(self, work: Work) -> LocalProcess:
        self.words.append(work.words)
        placed = await super().place(work)
        return OnLostMachine(placed) if len(self.words) <= self.losses else placed


def planned(
    folder: Path, engine: LocalProcesses, *, again: bool = True, seen: Any = lambda _: None, losses_max: int = 5
) -> RunEnd:
    """Plan an export in a process that the engine places, first with these words and then with a --limit."""
    export = write_objects(folder / "export.jsonl", user_ids(20))
    words = ["plan", "delete-users", str(export), "--sandbox", "--json", "--log-format", "json"]

    async def plan() -> RunEnd:
        async with keeping_rate({"all": 0.0}) as keeper:
            work = Work(words, Environment(), keeper.address("all"), folder)
            other = replace(work, words=[*words, "--limit", "7"]) if again else None
            children = Supervisor(engine, Restarts(0.0, losses_max))
            return await run_child(children, work, folder / "plan.log", seen, other)

    return asyncio.run(plan())


@mutant(
    "a run of a batch that was lost with its machine is not placed again",
    "Restarts.why_none",
    swap("lost >= self.losses_max", "lost > 0"),
)
@pytest.mark.untraced
def test_a_process_that_is_lost_with_its_machine_is_placed_again(tmp_path: Path) -> None:
    engine = LosesSome(1)
    events: list[Mapping[str, Any]] = []
    ended = planned(tmp_path, engine, seen=events.append)
    assert (ended.exit, ended.result.get("ids"), ended.error) == (0, 20, "")
    assert ["--limit" in words for words in engine.words] == [False, True]
    assert len(events) == len((tmp_path / "plan.log").read_text().splitlines())


@pytest.mark.soak
@pytest.mark.untraced
def test_a_process_that_is_lost_again_and_again_ends_with_ids_remaining(tmp_path: Path) -> None:
    engine = LosesSome(100)
    ended = planned(tmp_path, engine, losses_max=2)
    assert (ended.exit, "was lost" in ended.error, len(engine.words)) == (4, True, 2)
    engine = LosesSome(1)
    assert (planned(tmp_path, engine, again=False).exit, len(engine.words)) == (4, 1)


class Unlucky:
    """A process that reports so many settled rows, and is then lost. None: it ends well."""

    def __init__(self, settled: int | None) -> None:
        self._settled = settled

    async def poll(self) -> AsyncIterator[Said | Exited]:
        if self._settled is not None:
            yield Said(Stream.STDERR, b'{"event":"progress","settled":%d}\n' % self._settled)
        yield Exited(None if self._settled is not None else 0)

    def tell(self, line: bytes) -> None: ...

    def signal(self, signum: int) -> None: ...

    async def kill(self) -> None: ...


class UnluckyNodes(LocalProcesses):
    """Places a process for each number of settled rows, and after these one that ends well."""

    def __init__(self, *settled: int) -> None:
        super().__init__({})
        self.placed = 0
        self._settled: list[int | None] = [*settled, None]

    async def place(self, work: Work) -> Placed:  # type: ignore[override]  # one that is no process of this machine
        self.placed += 1
        return Unlucky(self._settled[self.placed - 1])


NOTHING = Work([], Environment(), KeeperAddress("/nowhere", "all"))


async def run_to_its_end(children: Supervisor, folder: Path) -> RunEnd:
    """Run a child that is placed again when it is lost."""
    return await run_child(children, NOTHING, folder / "run.log", lambda _: None, NOTHING)


@mutant(
    "a run of a batch that is lost again and again is placed for ever",
    "Supervisor.run",
    swap("child.settled > settled", "child.settled >= settled"),
)
@pytest.mark.parametrize(
    ("settled", "placed"),
    [
        ([10] * 9, 4),
        ([0] * 9, 3),
        ([30, 10, 20, 30, 10, 20], 4),
        ([10, 20, 30, *[30] * 9], 6),
        ([10, 10, 20, 20, 30, 30], 7),
    ],
)
async def test_a_process_that_is_lost_too_often_without_progress_is_not_placed_again(
    settled: list[int], placed: int, tmp_path: Path
) -> None:
    """A line of progress is none when no further row is settled."""
    engine = UnluckyNodes(*settled)
    ended = await run_to_its_end(Supervisor(engine, Restarts(0.0, 3)), tmp_path)
    assert (engine.placed, ended.exit) == (placed, 0 if placed > len(settled) else 4), ended.error


class Frozen(Unlucky):
    """A process that tells one event if it begins, and then nothing until it is killed."""

    def __init__(self, *, begins: bool) -> None:
        super().__init__(10)
        self._begins = begins
        self._killed = asyncio.Event()

    async def poll(self) -> AsyncIterator[Said | Exited]:
        if self._begins:
            yield Said(Stream.STDERR, b'{"event":"progress","settled":10}\n')
        await self._killed.wait()
        yield Exited(-signal.SIGKILL)

    async def kill(self) -> None:
        self._killed.set()


class FrozenNodes(LocalProcesses):
    """Places processes that are frozen. begin: after their first event."""

    def __init__(self, *, begin: bool) -> None:
        super().__init__({})
        self._begin = begin

    async def place(self, work: Work) -> Placed:  # type: ignore[override]
        return Frozen(begins=self._begin)


@mutant(
    "a frozen child is never killed",
    "Supervisor._silent_max_s",
    swap("self._restarts.patience_s", "self._restarts.patience_s * 1_000"),
)
@mutant(
    "a child that is frozen before it has told anything is never killed",
    "Supervisor._hear",
    swap("_Hearing(clock())", "_Hearing(math.inf)"),
    case="False",
)
@pytest.mark.parametrize("begin", [True, False])
async def test_a_child_that_tells_nothing_for_the_patience_is_killed(
    begin: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SILENT_LOOK_S", 0.01)
    monkeypatch.setattr(supervisor, "BEGINS_IN_S", 0.3)
    under_way = asyncio.create_task(
        run_to_its_end(Supervisor(FrozenNodes(begin=begin), Restarts(0.0, patience_s=0.2)), tmp_path)
    )
    done, _ = await asyncio.wait({under_way}, timeout=WAIT_MAX_S)
    assert done, "it is still under way"
    assert (under_way.result().exit, under_way.result().error) == (4, "its process was ended by SIGKILL")


@mutant(
    "a shard tells nothing until it sends",
    "_work",
    swap("_tell_that_it_lives(writer)", "asyncio.sleep(60)"),
)
async def test_a_shard_tells_from_its_beginning_that_it_lives(tmp_path: Path) -> None:
    """Here it waits for its order. Without a word it would be taken for frozen while it reads a long log."""
    words = ["run", "delete-users", str(tmp_path / "export.jsonl")]
    async with keeping_rate({"all": 0.0}) as keeper:
        work = Work(words, Environment(), keeper.address("all"), tmp_path, order=b"")
        placed = await LocalProcesses(environment({})).place(work)
        told = list[Said | Exited]()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_MAX_S):
                async for said in placed.poll():
                    told.append(said)
                    if len(told) == 2:
                        break
        await placed.kill()
    assert told == [Said(Stream.CHANNEL, b'{"event":"Alive"}\n')] * 2


async def test_a_child_that_does_not_drain_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "KILL_AFTER_S", 1.0)
    children, events = Supervisor(FrozenNodes(begin=True), RESTARTS), asyncio.Queue[Mapping[str, Any]]()
    under_way = asyncio.create_task(run_child(children, NOTHING, tmp_path / "run.log", events.put_nowait))
    await events.get()
    assert children.drain(signal.SIGINT, 0.0)
    done, _ = await asyncio.wait({under_way}, timeout=WAIT_MAX_S)
    assert done, "it is still under way"
    assert under_way.result().error == "its process did not end within 1 s of the signal, and was killed"


class NeverOver:
    """A child whose processes end, and whose work is never over."""

    name = "the child"
    settled = 0

    async def work(self) -> Work | None:
        return NOTHING

    def begin(self, placed: Placed) -> None: ...

    def take(self, event: Mapping[str, Any]) -> None: ...

    def keep(self, line: bytes) -> None: ...

    async def ended(self, exited: Exited) -> bool:
        return False


async def test_a_child_whose_processes_end_in_vain_is_given_up() -> None:
    class End(UnluckyNodes):
        async def place(self, work: Work) -> Placed:  # type: ignore[override]
            self.placed += 1
            return Unlucky(None)

    engine = End()
    with pytest.raises(Halted, match="the child has ended 5 times without having settled a row"):
        await Supervisor(engine, Restarts(0.0)).run(NeverOver())
    assert engine.placed == 5


async def test_nothing_waits_for_a_process_that_is_not_placed_again(tmp_path: Path) -> None:
    """Neither after the last loss, nor when a signal comes in the time before it would be placed again."""
    under_way = Supervisor(UnluckyNodes(0), Restarts(60.0, 2))
    waiting = asyncio.create_task(run_to_its_end(under_way, tmp_path))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done, "it is placed again after a time"
    under_way.drain(signal.SIGTERM, 0.0)
    done, _ = await asyncio.wait({waiting}, timeout=WAIT_MAX_S)
    assert done, "it waits for a process that is not placed again"
    assert waiting.result().exit == 4
    last = asyncio.create_task(run_to_its_end(Supervisor(UnluckyNodes(0), Restarts(60.0, 1)), tmp_path))
    done, _ = await asyncio.wait({last}, timeout=WAIT_MAX_S)
    assert done, "it was lost for the last time"


async def test_only_a_process_that_is_not_placed_cannot_be_started(tmp_path: Path) -> None:
    class Fails(LocalProcesses):
        async def place(self, work: Work) -> LocalProcess:
            raise OSError(errno.EMFILE, "Too many open files")

    class FailsLater(UnluckyNodes):
        async def place(self, work: Work) -> Placed:  # type: ignore[override]
            return OutOfDescriptors(None)

    class OutOfDescriptors(Unlucky):
        async def poll(self) -> AsyncIterator[Said | Exited]:
            if self._settled is None:
                raise OSError(errno.EMFILE, "Too many open files")
            yield Exited(None)

    ended = await run_to_its_end(Supervisor(Fails({}), RESTARTS), tmp_path)
    assert (ended.exit, ended.error) == (4, "its process cannot be started: Too many open files")
    with pytest.raises(OSError, match="Too many"):
        await run_to_its_end(Supervisor(FailsLater(), RESTARTS), tmp_path)


def test_a_machine_that_is_not_as_it_has_to_be_ends_one_run(tmp_path: Path) -> None:
    class Refuses(LocalProcesses):
        async def place(self, work: Work) -> LocalProcess:
            raise NotAcceptable("node 1 has bulkdel 0.1")

    ended = planned(tmp_path, Refuses({}))
    assert (ended.exit, ended.error) == (3, "node 1 has bulkdel 0.1")


class NeverPlaces(LocalProcesses):
    """Does not get around to placing a process."""

    async def place(self, work: Work) -> LocalProcess:
        await asyncio.Event().wait()
        return await super().place(work)


@mutant(
    "a drain waits for a child that is being placed",
    "Supervisor._run_once",
    swap("ended_before(self._draining.wait(), place())", "ended_before(asyncio.sleep(9), place())"),
)
async def test_a_child_that_is_being_placed_ends_when_the_drain_begins(tmp_path: Path) -> None:
    """As if the signal had come before it could send something."""
    children = Supervisor(NeverPlaces({}), RESTARTS)
    running = asyncio.create_task(run_to_its_end(children, tmp_path))
    await asyncio.sleep(0.1)
    assert not children.drain(signal.SIGTERM, 0.0), "there is no child yet"
    done, _ = await asyncio.wait({running}, timeout=3)
    assert done, "it waits for a child that is not wanted any more"
    assert (running.result().exit, running.result().error) == (143, "its process was ended by SIGTERM")


@mutant(
    "a process takes modules from the folder in which it begins",
    "LocalProcesses._start",
    swap("environ if work.folder is None else from_here(environ)", "environ"),
)
async def test_a_process_in_another_folder_takes_no_modules_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty entry in the path of modules means the folder of its parent."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sitecustomize.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path / "here")
    paths = {"PYTHONPATH": f":{os.environ.get('PYTHONPATH', '/none')}"}
    engine = LocalProcesses({**environment({}), **paths})
    process = await engine.place(Work(["--version"], Environment(), KeeperAddress("", ""), tmp_path / "there"))
    (ended,) = [said async for said in process.poll() if isinstance(said, Exited)]
    assert (ended.code, (tmp_path / "proof").read_text()) == (0, "here")
