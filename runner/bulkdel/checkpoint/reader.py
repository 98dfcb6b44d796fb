"""Reading the checkpoint log: line by line, in flat memory, to the first byte that cannot be trusted.

Owns the judgement of what is damaged: a torn tail (a commit that never became durable, so nothing relied on it) or
corruption (a durable commit is lost or changed, so the log is refused). Never writes, locks or repairs.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bulkdel.core.log_entries import (
    LINE_START,
    Annotation,
    BatchPlanned,
    Damaged,
    Entry,
    Header,
    Session,
    Unreadable,
    decode_line,
    sound,
)
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_numbers
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.errors import NotAcceptable
from bulkdel.input.skipped import packed_max, unpacked
from bulkdel.place.log_place import LINE_MAX, SKIPPED, LogLines, LogPlace, PinnedFile, bytes_of
from bulkdel.place.opening import log_place
from bulkdel.run_place import is_same
from bulkdel.store_path import is_store_url

ZEROS_MAX = 4096
"""Up to so many zeros count as an empty log: after a loss of power a file may have its length without its bytes. More
than one block of zeros is no first line."""


class Fold(Protocol):
    """The state that a log describes. It is made from the first entry, and every further entry is applied to it.

    under_way: the start of the latest session, until an entry shows that the session is over.
    """

    under_way: Session | None

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Raises Unreadable when it contradicts an earlier entry."""


F = TypeVar("F", bound=Fold)


@dataclass(frozen=True, slots=True)
class LogKind(Generic[F]):
    """A kind of log: the log of a run, a verification or a batch.

    name: of what writes it. header: the type of its first entry. fold: makes the state from that entry and the skipped
    rows of the file that it names. option: where the user names the log. start_over: what another log means.
    """

    name: str
    header: str
    fold: Callable[[Any, SkippedRows], F]
    option: str
    start_over: str

    @property
    def beginning(self) -> bytes:
        """The first bytes of every log of this kind."""
        return b'{"seq":1,"entries":[{"type":"%s",' % self.header.encode()


RUN = LogKind(
    "run",
    "header",
    lambda header, skipped: RunState(header, skipped=skipped),
    "RUN, or --run of `run`",
    "In another place (--run) the run starts from the first row: ids that are gone already then count as absent.",
)


class Unborn(NotAcceptable):
    """A log whose creation was cut short: it has no header. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class SoundLog:
    """The sound part of the log of a run.

    sha256: over the sound lines. damaged_tail: bytes after them; while a run is writing they may be half a commit.
    shards: of a run in shards, the SHA-256 of each log; `sha256` is over all of them then. lines: how many each of
    these logs has. unread: of a run in shards, the failures of the logs that could be read only in part (`partly`).
    """

    progress: RunState
    sha256: str
    damaged_tail: int
    shards: Mapping[int, str] = field(default_factory=dict)
    lines: Mapping[int, int] = field(default_factory=dict)
    unread: Sequence[NotAcceptable] = ()


class Shards:
    """The logs of the shards of a run, which are read after its own.

    sha256, lines: of each log that was read, by number. unread: the failures of the logs that could be read only in
    part. Without `partly` the first failure is raised.
    """

    def __init__(self, place: LogPlace, *, partly: bool) -> None:
        """place: where the log of the run is."""
        self._place = place
        self._partly = partly
        self.sha256: dict[int, str] = {}
        self.lines: dict[int, int] = {}
        self.unread: list[NotAcceptable] = []

    def folding(self, run: RunState) -> Iterator[list[Entry]]:
        """The entries about rows in the logs of the shards of a run, each line folded into the run and handed out."""
        for number in shard_numbers(run.header):
            try:
                yield from self._of_shard(run, number)
            except NotAcceptable as error:
                if not self._partly:
                    raise
                self.unread.append(error)

    def _of_shard(self, run: RunState, number: int) -> Iterator[list[Entry]]:
        """The entries about rows in the log of a shard, line by line, each line folded into the run and handed out.

        The logs of all shards are there before the first session of the run.
        """
        place = self._place.shard(number)
        if self.unread:  # the store fails: do not wait for it once more
            place = place.once()
        path = place.log
        if is_fresh(place):
            if run.sessions:
                raise NotAcceptable(
                    f"{path}: is missing or empty. It says what was sent of shard {number}, so without it ids could be "
                    "sent again. Put it back in the place of the run; then run the same command again."
                )
            return
        with reading(place, RUN) as reader:
            shard: RunState | None = None
            for entries in reader.commits():
                more = iter(entries)
                if shard is None:
                    shard = reader.first(next(more))
                    found, wanted = (shard.header.run_id, shard.header.shard), (run.header.run_id, number)
                    if (found[0], found[1] and found[1].number) != wanted:
                        raise NotAcceptable(f"{path}: is not the log of shard {number} of the run {run.header.run_id}.")
                try:
                    yield [entry for entry in more if run.take(entry, shard)]
                except Unreadable as error:
                    raise NotAcceptable(f"{path}: line {reader.seq + 1}: {error}") from error
            if shard is not None:
                run.join(shard)
            self.sha256[number], self.lines[number] = reader.sha.hexdigest(), reader.seq


class Reader(Generic[F]):
    """One pass over the lines of a log.

    seq: the number of the last sound line. size: bytes of the sound lines. last: the last sound line.
    damaged_tail: bytes behind it. torn_annotation: whether these are the beginning of an annotation.
    own: whether the entries that `folding` hands out are of this log. shards: the logs of the shards, when they
    were read. partly: see `Shards`.
    """

    def __init__(self, lines: LogLines, place: LogPlace, kind: LogKind[F], *, partly: bool = False) -> None:
        self._lines = lines
        self._place = place
        self._path = place.log
        self._kind = kind
        self._nonce = ""
        self._nonces = set[str]()  # of all sessions and annotations so far
        self._annotates = False  # whether the last line is an annotation
        self.seq = 0
        self.size = 0
        self.last = b""
        self.damaged_tail = 0
        self.torn_annotation = False
        self.sha = hashlib.sha256()
        self.own = True
        self.shards = Shards(place, partly=partly)

    def commits(self) -> Iterator[list[Entry]]:
        """The entries, line by line. Raises NotAcceptable for corruption and for what this version cannot read."""
        for line in self._lines:
            try:
                entries = self.read(line)
            except Damaged as error:
                self._judge(line, error)
                return
            yield entries
            self._passed(line)
        if not self.seq:
            refuse_without_run(self._place)
            raise Unborn(f"{self._path}: is empty, so nothing was sent under it. Run the same command again.")

    def read(self, line: bytes) -> list[Entry]:
        """The entries of the next line. Raises NotAcceptable for what this version cannot read, and Damaged."""
        try:
            nonce, entries = decode_line(line, self.seq + 1)
            if not self.seq and not line.startswith(self._kind.beginning):
                raise self._foreign()
            self._check(nonce, entries)
        except Unreadable as error:
            raise NotAcceptable(f"{self._here}: {error}") from error
        return entries

    def folding(self) -> Iterator[tuple[F, list[Entry]]]:
        """The entries, line by line, each line folded into the one state before it is handed out.

        After the log of a run in several shards come the entries about rows in the logs of the shards. `own` is False
        then, and `shards` has what was read.

        Raises NotAcceptable as well for an entry that contradicts those before it.
        """
        fold: F | None = None
        for entries in self.commits():
            more = iter(entries)
            try:
                if fold is None:
                    fold = self.first(next(more))
                for entry in more:
                    fold.apply(entry)
            except Unreadable as error:
                raise NotAcceptable(f"{self._here}: {error}") from error
            yield fold, entries
        if isinstance(fold, RunState):
            self.own = False
            for entries in self.shards.folding(fold):
                yield fold, entries

    def first(self, header: Any) -> F:
        """The state that the header describes, with the rows of its file of skipped rows.

        Raises NotAcceptable without that file, and where they contradict each other.
        """
        skipped = SkippedRows()
        try:
            if isinstance(header, Header) and header.skipped_sha256 is not None:
                skipped = unpacked(skipped_bytes(self._place, header, header.skipped_sha256), header.end)
            return self._kind.fold(header, skipped)
        except (Unreadable, ValueError) as error:
            raise NotAcceptable(f"{self._here}: {error}") from error

    @property
    def sha256(self) -> str:
        """SHA-256 of the sound lines, hex. Of a run in shards: over the SHA-256 of this log and of each shard's."""
        return sha256_of_all(self.sha.hexdigest(), self.shards.sha256)

    def replay(self) -> F:
        """Fold the whole log. Raises what `folding` raises."""
        fold, _ = deque(self.folding(), maxlen=1).pop()
        return fold

    def take(self, line: bytes) -> list[Entry]:
        """Read one more line, and count it as the last one. Raises what `read` raises."""
        entries = self.read(line)
        self._passed(line)
        return entries

    def _passed(self, line: bytes) -> None:
        """Count a line as read."""
        self.seq += 1
        self.size += len(line)
        self.last = line
        self.sha.update(line)

    @property
    def _here(self) -> str:
        return f"{self._path}: line {self.seq + 1} (byte {self.size})"

    def _check(self, nonce: str, entries: list[Entry]) -> None:
        types = set(map(type, entries))
        annotates = types == {Annotation} and len(entries) == 1
        if Annotation in types and not annotates:
            raise Unreadable("an annotation shares its line with another entry")
        if nonce != self._nonce or annotates is not self._annotates:
            first = entries[0] if entries else None
            begins = annotates or isinstance(first, BatchPlanned)
            begins = begins or (isinstance(first, Session) and first.event == "start")
            if self.seq and (nonce in self._nonces or not begins):
                raise Damaged("it belongs to another session than the line before it")
            self._nonces.add(nonce)
            self._nonce, self._annotates = nonce, annotates
        for entry in entries if types & {Session, Annotation} else ():
            if isinstance(entry, Session | Annotation) and entry.log_sha256 != self.sha.hexdigest():
                what = f"session that {entry.event}s" if isinstance(entry, Session) else "annotation that stands"
                raise Unreadable(
                    f"the {what} here found other bytes before it (SHA-256 {entry.log_sha256}) "
                    f"than there are now: the file was changed by something other than bulkdel. {self._todo}"
                )

    def _judge(self, line: bytes, damage: Damaged) -> None:
        """Distinguish a torn tail from corruption. `line` is the first damaged line; the lines before it are sound."""
        tail = self._lines.tail(self.size)
        if tail is None:
            raise self._corrupt(damage)
        if not tail.startswith(line) and self.seq:
            return  # a run has just cut the torn tail off; the lines that were read are sound
        whole = [part for part in tail.splitlines(keepends=True) if sound(part)]
        if not self.seq and not whole:
            self._judge_first(tail)
        if whole or len(tail) > LINE_MAX or tail.count(LINE_START) > 1:
            raise self._corrupt(damage)
        self.damaged_tail = self._lines.length(self.size)
        beginning = b'%s%d,"entries":[{"type":"annotation",' % (LINE_START, self.seq + 1)
        self.torn_annotation = tail.startswith(beginning[: len(tail)])

    def _judge_first(self, tail: bytes) -> None:
        zeros = len(tail) <= ZEROS_MAX and not any(tail)
        if not zeros and not tail.startswith(self._kind.beginning[: len(tail)]):
            raise self._foreign()
        if len(tail) <= LINE_MAX and tail.count(LINE_START) <= 1:
            refuse_without_run(self._place)
            raise Unborn(
                f"{self._path}: a {self._kind.name} is creating this log, or was killed while it did; nothing was sent "
                "under it. Run the same command again."
            )

    def _corrupt(self, damage: Damaged) -> NotAcceptable:
        return NotAcceptable(
            f"{self._here} is damaged ({damage}), and it is not the last thing that was written: "
            f"commits that were safe on disk are lost or changed. {self._todo}"
        )

    def _foreign(self) -> NotAcceptable:
        name, option = self._kind.name, self._kind.option
        what = "place" if self._kind is RUN else "file"
        return NotAcceptable(f"{self._path}: is not the log of a {name} of bulkdel. Name another {what} ({option}).")

    @property
    def _todo(self) -> str:
        return f"Put back a copy of {self._place.kept_as} if there is one. {self._kind.start_over}"


def sha256_of_all(own: str, shards: Mapping[int, str]) -> str:
    """The SHA-256 of a run: of its log; in shards over the SHA-256 of every log, its own first."""
    if not shards:
        return own
    return hashlib.sha256("".join(f"{each}\n" for each in (own, *shards.values())).encode()).hexdigest()


@contextmanager
def reading(place: LogPlace, kind: LogKind[F], *, partly: bool = False, by_rolls: bool = True) -> Iterator[Reader[F]]:
    """Open a log for one pass over it, without its lock: also while a process writes it. partly: see `Reader`.

    by_rolls: see `LogPlace.lines`. Raises NotAcceptable when the log cannot be opened, or its store cannot be read.
    """
    with place.lines(by_rolls=by_rolls) as lines:
        yield Reader(lines, place, kind, partly=partly)


def read_log(place: LogPlace, *, partly: bool = False) -> SoundLog:
    """Read the log of a run. A damaged tail is counted and otherwise ignored. Raises NotAcceptable: see `Reader`.

    partly: if the log of a shard is damaged, read its sound part.
    """
    with reading(place, RUN, partly=partly) as reader:
        progress = reader.replay()
        shards = reader.shards
        return SoundLog(progress, reader.sha256, reader.damaged_tail, shards.sha256, shards.lines, shards.unread)


def read_shards(place: LogPlace, run: RunState) -> SoundLog:
    """Fold the logs of the shards into the progress of their run, without its own log. place: of that log.

    Of a damaged log the sound part is read; a missing log has none.
    """
    shards = Shards(place, partly=True)
    deque(shards.folding(run), maxlen=0)
    return SoundLog(run, "", 0, shards.sha256, shards.lines, shards.unread)


def begins_as(place: LogPlace, noted: tuple[int, str]) -> bool:
    """Whether the log of a shard begins as it was noted: so many lines, with this SHA-256.

    Raises NotAcceptable when it cannot be read.
    """
    lines, sha256 = noted
    with reading(place, RUN) as reader:
        for _ in reader.commits():
            if reader.seq == lines:  # so many lines were read before this one
                break
        return reader.seq == lines and reader.sha.hexdigest() == sha256


def refuse_without_run(place: LogPlace) -> None:
    """Raise NotAcceptable where the log of a run is missing or empty, and logs of its shards exist."""
    if not place.number and (shard := place.shard_log()) is not None:
        raise NotAcceptable(
            f"{place.log}: is missing or empty, and the logs of its shards are there ({shard.name}, …). They say what "
            "was sent. Put the log of the run back; then run the same command again. Move those of the shards away "
            "only to send everything from the first row on."
        )


def _refuse_without_log(place: LogPlace) -> None:
    """Raise NotAcceptable where the log of a run is missing, and files with names of a run exist.

    A run makes its log before these files. So even a killed run leaves none of them without a log.
    """
    refuse_without_run(place)
    if not place.number and (beside := place.beside()):
        names = ", ".join(path.name for path in beside)
        raise NotAcceptable(
            f"{place.log}: is missing, and what a run writes after it is there ({names}). The log says what was sent. "
            "If it was moved away, put it back; then run the same command again. Move files of your own away. A new "
            "run needs another place (--run)."
        )


def skipped_bytes(place: LogPlace, header: Header, sha256: str) -> bytes:
    """The file of the skipped rows of the log with this header. Raises NotAcceptable unless it has this SHA-256."""
    pinned, most = PinnedFile(SKIPPED, sha256), packed_max(header.end)
    data, where = bytes_of(place, pinned, most), place.at(pinned)
    if data is None:
        raise NotAcceptable(
            f"{where}: the rows that are never sent are missing. Put them back in the place of the run; "
            "then run this again."
        )
    if len(data) > most or hashlib.sha256(data).hexdigest() != sha256:
        raise NotAcceptable(
            f"{where}: the rows that are never sent are not those that the log names by their SHA-256. Put a copy of "
            "what was there back, then run this again."
        )
    return data


def original_of(run: Path, progress: RunState) -> Path | None:
    """Where the last session had this run, when it is still there: `run` is a copy of it. None without one.

    None also where that was in a store.
    """
    place = progress.start.facts.get("run") if progress.start is not None else None
    if place is None or is_store_url(place) or is_same(was := Path(place), run):
        return None
    try:
        return was if header_of(log_place(was)).run_id == progress.header.run_id else None
    except NotAcceptable:
        return None


def header_of(place: LogPlace) -> Header:
    """Read only the header of the log of a run. Raises NotAcceptable."""
    with reading(place, RUN) as reader:
        header = next(reader.commits())[0]
        assert isinstance(header, Header), "the first line begins like one"
        return header


def is_fresh(place: LogPlace, kind: LogKind[Any] = RUN) -> bool:
    """Whether a new log begins here: there is none, or its creation was cut short. Raises what `Reader` raises."""
    if not place.is_there():
        if kind is RUN:
            _refuse_without_log(place)
        return True
    try:
        with reading(place, kind) as reader:
            return next(reader.commits(), None) is None
    except Unborn:
        return True
