"""gzip and zstd: several members, damage, bombs, bounded memory."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.errors import NotAcceptable
from bulkdel.export import compression as unit
from bulkdel.export.compression import decompressed, detect
from tests.sourcefiles import ids, look, pack, write

TEXT = "".join(f'"user-{number}"\n' for number in range(500)).encode()
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\0\0\0abc"


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def unpacked(data: bytes, kind: str, size: int = 100, piece: int = 1000) -> bytes:
    pieces = list(decompressed(blocks(data, size), kind, "x", piece))
    assert all(0 < len(each) <= piece for each in pieces)
    return b"".join(pieces)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 50))
def test_members_and_frames_one_after_another(parts: list[bytes], size: int, piece: int) -> None:
    for kind in ("gzip", "zstd"):
        data = b"".join(pack(part, kind) for part in parts)
        assert detect(data[:4]) == kind
        assert unpacked(data, kind, size, piece) == b"".join(parts)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_every_truncation_is_refused(kind: str) -> None:
    data = pack(TEXT, kind) + pack(TEXT, kind)
    whole = len(pack(TEXT, kind))
    for end in range(4, len(data)):
        if end != whole:
            with pytest.raises(NotAcceptable, match="in the middle of the compressed data"):
                unpacked(data[:end], kind)
    assert unpacked(data[:whole], kind) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("rubbish", [b"rubbish", b"\0" * 512, b"\n", b"(", b"\x1f", b"\x1f\x8b"])
@pytest.mark.parametrize("size", [1, 3, 100, 1 << 20])
def test_anything_after_the_end_is_refused(kind: str, rubbish: bytes, size: int) -> None:
    with pytest.raises(NotAcceptable, match=r"x, byte \d+: (gzip|zstd): "):
        unpacked(pack(TEXT, kind) + rubbish, kind, size)


def test_rubbish_is_named_with_its_byte() -> None:
    data = pack(TEXT, "gzip")
    with pytest.raises(NotAcceptable, match=f"byte {len(data)}: gzip: something else follows after the end"):
        unpacked(data + b"hello", "gzip")
    data = pack(TEXT, "zstd")
    with pytest.raises(NotAcceptable, match=f"byte {len(data)}: zstd: something else follows after the end"):
        unpacked(data + b"hello", "zstd")


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(pack(TEXT, "gzip"))
    data[-5] ^= 1
    with pytest.raises(NotAcceptable, match="incorrect data check"):
        unpacked(bytes(data), "gzip")
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    data[-1] ^= 1
    with pytest.raises(NotAcceptable, match="checksum"):
        unpacked(bytes(data), "zstd")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_damaged_middle_is_refused(tmp_path: Path, kind: str) -> None:
    text = "".join(f'"{random.Random(number).getrandbits(96):x}"\n' for number in range(2000)).encode()
    data = bytearray(pack(text, kind))
    if kind == "zstd":
        data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(text))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(NotAcceptable):
        look(write(tmp_path / "x", bytes(data)))


def test_frames_without_data_are_passed_over(tmp_path: Path) -> None:
    data = SKIPPABLE + pack(TEXT, "zstd") + SKIPPABLE
    assert unpacked(data, detect(data[:4])) == TEXT
    assert len(ids(write(tmp_path / "x", data), block_size=7)) == 500
    with pytest.raises(NotAcceptable, match="the middle"):
        unpacked(data[:-1], "zstd")


def test_a_window_larger_than_is_reasonable_is_refused() -> None:
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([31 - 10 << 3])  # a frame that asks for a window of 2 GiB
    with pytest.raises(NotAcceptable, match="zstd: "):
        unpacked(header + b"\1\0\0", "zstd")


@pytest.mark.parametrize("name", ["x.gz", "x.zst", "x.jsonl"])
@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_a_name_says_nothing(tmp_path: Path, name: str, kind: str) -> None:
    path = write(tmp_path / name, pack(TEXT, kind))
    assert look(path).dialect.compression == kind
    assert len(ids(path)) == 500


def test_compressed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAcceptable, match="compressed twice"):
        look(write(tmp_path / "x", gzip.compress(gzip.compress(TEXT))))


def bomb(kind: str, mib: int) -> bytes:
    """Lines that repeat, so that only the cap can stop them."""
    line = b'"user"\n'
    piece = line * ((1 << 20) // len(line))
    packer = zlib.compressobj(9, wbits=31) if kind == "gzip" else zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join(packer.compress(piece) for _ in range(mib)) + packer.flush()


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_stops_at_the_ratio_and_memory_stays_bounded(kind: str) -> None:
    data = bomb(kind, 80)
    sizes: list[int] = []
    tracemalloc.start()
    with pytest.raises(NotAcceptable, match="times as much"):
        sizes.extend(map(len, decompressed(blocks(data, 1 << 20), kind, "x", 1 << 20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert unit.RATIO_FREE - (17 << 20) <= sum(sizes) <= unit.RATIO_FREE + (17 << 20)
    assert peak < 48 << 20


def test_what_is_small_may_repeat_itself() -> None:
    data = bomb("gzip", 60)
    assert sum(len(piece) for piece in decompressed([data], "gzip", "x", 1 << 20)) == 60 * ((1 << 20) // 7 * 7)


def test_the_size_cap_stops_what_no_ratio_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "SIZE_MAX", 1000)
    with pytest.raises(NotAcceptable, match="more than 1 TiB"):
        unpacked(pack(TEXT, "gzip"), "gzip")


def test_a_bomb_of_one_line_stops_at_the_line_cap(tmp_path: Path) -> None:
    path = write(tmp_path / "x", pack(b"\0" * (8 << 20), "gzip"))
    with pytest.raises(NotAcceptable, match=r"line 1: .*over 1 MiB without a line end"):
        look(path)
