"""Made-up exports, and a long run that was stopped: what the real command is given."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

AT_ONCE = 10_000


def ids(count: int) -> Iterator[str]:
    """Distinct user ids that look like hashes, as real ones do; the same ones every time."""
    draw = random.Random(1).getrandbits
    return (f"{(number << 64 | draw(64)) & (1 << 96) - 1:024x}" for number in range(count))


def _object(number: int, id_: str) -> str:
    return f'{{"id":"{id_}"}}\n'


def _bare(number: int, id_: str) -> str:
    return f'"{id_}"\n'


def _csv(number: int, id_: str) -> str:
    return f'"{id_}","user{number}@example.com","Doe, Jane ""JD"" {number}"\n'


FORMATS: dict[str, tuple[str, str, Callable[[int, str], str]]] = {
    "objects": ("jsonl", "", _object),
    "bare": ("jsonl", "", _bare),
    "csv": ("csv", '"id","email","name"\n', _csv),
}
"""Suffix, header and row."""


@dataclass(frozen=True)
class Made:
    """An export on the disk. count: ids that it asks to delete."""

    path: Path
    count: int
    sha256: str
    size: int


def write(folder: Path, name: str, count: int, *, duplicates: int = 0, repeated: float = 0.0) -> Made:
    """Write an export of `count` ids.

    duplicates: the first so many once more, at the end of the first 50,000. repeated: share of the rows that repeat an
    id of any earlier row.
    """
    suffix, header, row = FORMATS[name]
    path = folder / f"{name}-{count}-{duplicates}-{repeated:g}.{suffix}"
    sha, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in _pieces(header, row, _repeating(_doubled(count, duplicates), repeated)):
            file.write(piece)
            sha.update(piece)
            size += len(piece)
    return Made(path, count, sha.hexdigest(), size)


def _doubled(count: int, duplicates: int) -> Iterator[str]:
    first: list[str] = []
    for number, id_ in enumerate(ids(count)):
        if number < duplicates:
            first.append(id_)
        if number == min(count, 50_000) - 1:
            yield from first
        yield id_


def _repeating(some: Iterable[str], share: float) -> Iterator[str]:
    """`some`, and among them earlier ones again: of every twentieth."""
    rng = random.Random(2)
    known: list[str] = []
    for number, id_ in enumerate(some):
        yield id_
        if number % 20 == 0:
            known.append(id_)
        while rng.random() < share:
            yield rng.choice(known)


def _pieces(header: str, row: Callable[[int, str], str], some: Iterable[str]) -> Iterator[bytes]:
    gathered = [header]
    for number, id_ in enumerate(some):
        gathered.append(row(number, id_))
        if len(gathered) > AT_ONCE:
            yield "".join(gathered).encode()
            gathered = []
    yield "".join(gathered).encode()
