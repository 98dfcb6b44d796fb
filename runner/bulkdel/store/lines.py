"""The lines of a log in a store, in their order: line 17 is the object `log/000000000017`.

The log is the lines 1 to g, where g + 1 is the first number that does not exist. Readers and writers know no other
rule. Rolls, which hold a thousand lines each, only spare requests: one counts while its last line is that of the line's
own object, so that a roll which another writer has put there replaces nothing. An audit reads the lines alone.
A log of which a line was deleted is refused: its number must not be created a second time. A list of the names behind
the end shows that. A list may lack what exists, so it can only add to the reasons for refusing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import count, islice, repeat

from bulkdel.errors import NotAcceptable
from bulkdel.store.certain import PAUSE_S, READ_S, Getter
from bulkdel.store.means import MEANS, Means
from bulkdel.store_path import StorePath

LINES_A_ROLL = 1_000

AT_ONCE = 32
"""Lines that are read at the same time."""

ROLLS_AT_ONCE = 4
"""Rolls that are read at the same time. Each has some megabytes."""

LIST_TRIES = 3
"""How often a list is asked for. A log can be read without one: the credentials may not list, or the store cannot."""

BEHIND = tuple(1 << power for power in range(21))
"""Where there is no list, so far behind the end of a log is looked for lines."""

NUMBERED = re.compile(r"(log|roll)/\d{12}")


def line_name(seq: int) -> str:
    """The name of the object with this line."""
    return f"log/{seq:012d}"


def roll_name(last: int) -> str:
    """The name of the object with the thousand lines up to `last`."""
    return f"roll/{last:012d}"


class StoreLines:
    """The lines of a log in a store: `checkpoint.reader.Lines`. Use it in one thread, and close it."""

    def __init__(
        self, path: StorePath, means: Means = MEANS, patience_s: float = READ_S, *, by_rolls: bool = True
    ) -> None:
        """Open the store at this URL.

        patience_s: a line that cannot be read for so long is given up. by_rolls: whether rolls spare requests.
        """
        self._path = path
        self._objects = means.open(path)
        self._getter = Getter(self._objects, patience_s, means)
        self._threads = means.threads(AT_ONCE)
        self._sleep = means.sleep
        self._by_rolls = by_rolls

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines that there are. Raises OSError when the store fails, NotAcceptable when one was deleted."""
        names = range(LINES_A_ROLL, 10**12, LINES_A_ROLL)
        rolls = self._ahead(roll_name, names, ROLLS_AT_ONCE) if self._by_rolls else repeat(None)
        for first, roll in zip(count(1, LINES_A_ROLL), rolls, strict=False):
            rolled = [] if roll is None else roll.splitlines(keepends=True)
            if len(rolled) == LINES_A_ROLL and rolled[-1] == self.line(first + LINES_A_ROLL - 1):
                yield from rolled
                continue
            number = 0
            for number, line in enumerate(self.lines(range(first, first + LINES_A_ROLL)), 1):  # noqa: B007 - it is used
                yield line
            if number < LINES_A_ROLL:
                self._check_end(first + number)
                return

    def lines(self, numbers: range) -> Iterator[bytes]:
        """Yield these lines, up to the first that does not exist."""
        for line in self._ahead(line_name, numbers, AT_ONCE):
            if line is None:
                return
            yield line

    def line(self, seq: int) -> bytes | None:
        """Read one line; None when there is none of this number yet."""
        return self._getter.get(line_name(seq))

    def tail(self, start: int, line: bytes) -> bytes | None:  # noqa: ARG002 - an object is whole or absent
        """See `checkpoint.reader.Lines`: no line is torn."""
        return None

    def length(self, start: int) -> int:  # noqa: ARG002 - see `tail`
        """See `checkpoint.reader.Lines`."""
        return 0

    def close(self) -> None:
        """End the threads."""
        self._getter.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_end(self, missing: int) -> None:
        """Raise NotAcceptable when there are lines behind this one, and not because it was written meanwhile."""
        behind = self._behind(missing)
        if behind is not None and self.line(missing) is None:
            raise NotAcceptable(
                f"{self._path}: {line_name(missing)} is missing, and {behind} is there: an object of the log was "
                "deleted. Nothing was sent. Put it back, then run this again."
            )

    def _behind(self, missing: int) -> str | None:
        """The name of an object with lines behind this one, if there is one."""
        try:
            return self._listed(line_name(missing)) or self._listed(roll_name(missing))
        except OSError:
            numbers = [missing + distance for distance in BEHIND]
            found = zip(numbers, self._ahead(line_name, numbers, AT_ONCE), strict=True)
            return next((line_name(seq) for seq, line in found if line is not None), None)

    def _listed(self, after: str) -> str | None:
        """The first numbered name behind this one in a list. Raises OSError when there is no list."""
        for _ in range(LIST_TRIES - 1):
            with suppress(OSError):
                return self._first(after)
            self._sleep(PAUSE_S)
        return self._first(after)

    def _first(self, after: str) -> str | None:
        return next(filter(NUMBERED.fullmatch, self._objects.listed(after)), None)

    def _ahead(self, name_of: Callable[[int], str], numbers: Iterable[int], at_once: int) -> Iterator[bytes | None]:
        """Read the objects with these numbers in their order, some of them at the same time.

        What fails is repeated here and not in the threads: a program that ends waits for its threads.
        """
        names = map(name_of, numbers)
        under_way = deque(self._begun(names, at_once))
        try:
            while under_way:
                name, attempt = under_way.popleft()
                try:
                    found = attempt.result()
                except OSError:
                    found = self._getter.get(name)
                yield found
                under_way.extend(self._begun(names, 1))
        finally:
            for _, attempt in under_way:
                attempt.cancel()

    def _begun(self, names: Iterator[str], count: int) -> Iterator[tuple[str, Future[bytes | None]]]:
        """Begin to read the next few of these objects."""
        for name in islice(names, count):
            yield name, self._threads.submit(self._objects.get, name)
